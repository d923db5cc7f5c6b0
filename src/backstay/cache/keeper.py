"""Owns what the cache does in the background: answers, claims and counts into Postgres, and the sweeping of it."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

from backstay.cache.memory import Kept
from backstay.cache.store import CacheStore
from backstay.cache.tally import Tallies
from backstay.cache.types import Purge
from backstay.core.clock import Clock

_log = logging.getLogger(__name__)

_MOST_PENDING_BYTES = 32 * 1024 * 1024
"""Of answers that wait to be written; the oldest is let go, and is asked for again some time."""
_BATCH = 200
_COUNT_S = 2.0
"""Longest time that counts wait to be written."""
_SWEEP_S = 60.0
_RETRY_S = 1.0


class Keeper:
    """Writes behind the calls' backs. A Postgres that is away costs kept answers, never a call."""

    def __init__(self, store: CacheStore, tallies: Tallies, clock: Clock):
        self.bounds: Mapping[str, int] = {}
        """Most bytes that a tenant keeps, by model."""
        self.dropped = 0
        """Answers that were let go before they were written."""
        self._store = store
        self._tallies = tallies
        self._clock = clock
        self._pending: deque[Kept] = deque()
        self._pending_bytes = 0
        self._released: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._swept_ns = 0

    def put(self, kept: Kept) -> None:
        """Write an answer soon."""
        self._pending.append(kept)
        self._pending_bytes += kept.size_bytes
        while self._pending_bytes > _MOST_PENDING_BYTES:
            self._pending_bytes -= self._pending.popleft().size_bytes
            self.dropped += 1
        self._wake.set()

    def release(self, tenant_id: str, key: bytes) -> None:
        """Give up the claim on a question soon, after its answer is written."""
        self._released.append((tenant_id, key))
        self._wake.set()

    def purge(self, purge: Purge) -> None:
        """Let go of what is not written yet and meets a purge."""
        self._pending = deque(kept for kept in self._pending if not kept.meets(purge))
        self._pending_bytes = sum(kept.size_bytes for kept in self._pending)

    async def run(self) -> None:
        """Write and sweep until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_COUNT_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.flush()
                await self._sweep_now_and_then()
            except Exception as error:  # noqa: BLE001 - a keeper that died of anything would end sharing unseen
                _log.warning("the cache could not be written to Postgres, it is tried again: %r", error)
                await asyncio.sleep(_RETRY_S)

    async def flush(self) -> None:
        """Write all that waits. Raises what the store raises; what was not written waits on, but for expired claims."""
        while True:
            kept = [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]
            released = [self._released.popleft() for _ in range(min(_BATCH, len(self._released)))]
            tallies = self._tallies.take()
            if not (kept or released or tallies):
                return
            self._pending_bytes -= sum(each.size_bytes for each in kept)
            try:
                # Within one statement a row can be written once only: of two answers to a question the later counts.
                await self._store.write(list({(e.tenant_id, e.key): e for e in kept}.values()), released, tallies)
            except BaseException:
                self._pending.extendleft(reversed(kept))
                self._pending_bytes += sum(each.size_bytes for each in kept)
                self._released.extendleft(reversed(released))
                self._tallies.put_back(tallies)
                raise

    async def _sweep_now_and_then(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._swept_ns >= _SWEEP_S * 1e9:
            self._swept_ns = now_ns
            await self._store.sweep(self.bounds)
