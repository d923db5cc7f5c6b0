"""Owns what is done for collections in the background: rounds of work, through faults and absences of Postgres."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from backstay.core.errors import StoreUnavailable
from backstay.retrieval.building import Builder
from backstay.retrieval.crawling import Crawling
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.ingest_store import IngestStore
from backstay.retrieval.taking_in import TakingIn

_FAULT_S = 1.0
_IDLE_S = 10.0
"""How often somebody without work looks whether a notification was missed, or a pause is over."""
_SWEEP_S = 3600.0
_BEAT_S = 30.0

Round = Callable[[], Awaitable[bool]]
"""Does some work; ``False``: there was none."""

_log = logging.getLogger(__name__)


class Upkeep:
    """The background work of one installation."""

    def __init__(self, builder: Builder, generations: GenerationStore, ingests: IngestStore, *, owner: str):
        self._builder = builder
        self._generations = generations
        self._ingests = ingests
        self._owner = owner
        self._woken: list[asyncio.Event] = []

    def wake(self) -> None:
        """Look for work: there is news."""
        for event in self._woken:
            event.set()

    async def run(self, lines: Sequence[TakingIn], crawling: Crawling) -> None:
        """Work until cancelled. What is cut in the middle is begun again by who comes next."""

        async def take_back() -> bool:
            await self._ingests.take_back(self._owner)
            return False

        while await _survived(take_back):
            pass
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._rounds(self._builder.run_once))
                tasks.create_task(self._rounds(crawling.run_once))
                for line in lines:
                    tasks.create_task(self._rounds(line.run_once))
                tasks.create_task(self._beat())
                tasks.create_task(self._sweep())
        finally:
            for line in lines:
                await line.close()

    async def _beat(self) -> None:
        async def beat() -> bool:
            await self._ingests.beat(self._owner)
            return False

        while True:
            await _survived(beat)
            await asyncio.sleep(_BEAT_S)

    async def _rounds(self, work: Round) -> None:
        woken = asyncio.Event()
        self._woken.append(woken)
        while True:
            woken.clear()
            if not await _survived(work):
                with suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_S):
                        await woken.wait()

    async def _sweep(self) -> None:
        async def drop() -> bool:
            await self._generations.drop_retired()
            return False

        while True:
            await _survived(drop)
            await asyncio.sleep(_SWEEP_S)


async def _survived(work: Round) -> bool:
    try:
        return await work()
    except StoreUnavailable as error:
        _log.warning("collections wait for Postgres: %s", error.message)
    except Exception:  # noqa: BLE001 - the edge of the task: what failed now is tried again
        _log.exception("work on collections failed; it goes on")
    await asyncio.sleep(_FAULT_S)
    return True
