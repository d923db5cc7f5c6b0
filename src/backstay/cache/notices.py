"""Owns what workers tell each other of the cache: a question is answered or free again, answers are purged."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import msgspec

from backstay.cache.keeper import Keeper
from backstay.cache.memory import Memory
from backstay.cache.types import Purge

CHANNEL = "backstay_cache"


class Notices:
    """Follows the notifications of Postgres: a key in hexadecimal, or a purge as JSON."""

    def __init__(self, memory: Memory, keeper: Keeper):
        self.purges = 0
        """How many purges were heard of: who read before one must not remember after it."""
        self._memory = memory
        self._keeper = keeper
        self._expected: dict[bytes, asyncio.Event] = {}

    @contextmanager
    def expect(self, key: bytes) -> Generator[asyncio.Event]:
        """Watch for news of a question. One watches at a time: who leads its flight."""
        event = self._expected[key] = asyncio.Event()
        try:
            yield event
        finally:
            if self._expected.get(key) is event:
                del self._expected[key]

    def on_event(self, payload: str) -> None:
        """Take one notification in."""
        if payload.startswith("{"):
            self.purge(msgspec.json.decode(payload, type=Purge))
        elif (event := self._expected.get(bytes.fromhex(payload))) is not None:
            event.set()

    def on_gap(self) -> None:
        """Notifications may have been missed: what was purged meanwhile is not known, so nothing is remembered."""
        self.purges += 1
        self._memory.clear()
        for event in self._expected.values():
            event.set()

    def purge(self, purge: Purge) -> None:
        """Forget what meets a purge, in memory and in what waits to be written."""
        self.purges += 1
        self._memory.purge(purge)
        self._keeper.purge(purge)
