"""Owns the running of jobs: so many calls at once, each until it has an answer or will have none."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, get_args

from backstay.core.errors import BackstayError, StoreUnavailable
from backstay.jobs.retry import pause_before_next
from backstay.jobs.rounds import FAULT_S, again_and_again, wait_for
from backstay.jobs.store import JobStore
from backstay.jobs.types import Answered, Failure, Job
from backstay.jobs.upkeep import Upkeep

Ask = Callable[[Job], Awaitable[Answered]]
"""Makes the call of a job, once. A good answer is in the journal when it returns.

Raises ``StoreUnavailable`` where Postgres must say first who calls."""

TryEnd = Literal["answered", "failed", "again", "limited", "expired"]
"""``answered``: well. ``failed``: for good. ``again``: a fault, it is tried again. ``limited``: its key had reached a
limit. ``expired``: its time was over before it was made."""

_BUSY_S = 1.0
"""How often a runner with open batches looks whether one is run through."""
_IDLE_S = 30.0
"""How often one without any looks whether it missed a notification; and how often it says that it is there."""

_TOO_LATE = Failure(code="expired", message="The time for this call was over before it was made.")

_log = logging.getLogger(__name__)


class Runner:
    """Runs the jobs of one installation."""

    def __init__(self, store: JobStore, upkeep: Upkeep, ask: Ask, *, concurrency: int):
        self._store = store
        self._upkeep = upkeep
        self._ask = ask
        self._concurrency = concurrency
        self.tries: dict[TryEnd, int] = dict.fromkeys(get_args(TryEnd), 0)
        """Tries that have ended here, by what came of them."""
        self._running: set[asyncio.Task[None]] = set()
        self._paused: dict[str, float] = {}
        """Keys that have reached a limit, as ``tenant/key``, and until when (monotonic)."""
        self._woken = asyncio.Event()
        self._wake_upkeep = asyncio.Event()
        self._chance = random.Random()

    def wake(self) -> None:
        """Look for something to do: there is news."""
        self._woken.set()
        self._wake_upkeep.set()

    async def run(self) -> None:
        """Run what is there and what comes, until cancelled. Calls that are under way then go on: see ``drain``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(again_and_again(self._make_calls))
            tasks.create_task(again_and_again(self._keep_batches))
            tasks.create_task(again_and_again(self._beat))

    async def drain(self, limit_s: float) -> None:
        """Wait for the calls that are under way, and stop those that take too long; they are made again later."""
        if self._running:
            await asyncio.wait(self._running, timeout=limit_s)
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _beat(self) -> None:
        await self._store.beat()
        await asyncio.sleep(_IDLE_S)

    async def _keep_batches(self) -> None:
        """Read and write batches, and close those that are run through."""
        while await self._upkeep.run_once():
            self._woken.set()
        is_open = await self._store.close_batches() > 0
        if is_open and await self._upkeep.run_once():
            return
        await wait_for(self._wake_upkeep, _BUSY_S if is_open else _IDLE_S)
        await asyncio.sleep(0.05)  # notifications come by the dozen

    async def _make_calls(self) -> None:
        """Take as many calls as there is room for, and wait for more room, or more calls."""
        self._woken.clear()
        room = self._concurrency - len(self._running)
        jobs = await self._store.claim_calls(room, self._paused_now()) if room > 0 else []
        for job in jobs:
            task = asyncio.create_task(self._make(job), name=f"job {job.job_id}")
            self._running.add(task)
            task.add_done_callback(self._on_end)
        if room > 0 and not jobs:
            await wait_for(self._woken, await self._idle_s())
        elif len(self._running) >= self._concurrency:
            await wait_for(self._woken, _IDLE_S)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._concurrency - len(self._running) >= max(1, self._concurrency // 4):
            self._woken.set()

    def _paused_now(self) -> list[str]:
        now_s = time.monotonic()
        self._paused = {key: until_s for key, until_s in self._paused.items() if until_s > now_s}
        return list(self._paused)

    async def _idle_s(self) -> float:
        """Say for how long there is nothing to do, as far as is known."""
        now_s = time.monotonic()
        known = [_IDLE_S, *(until_s - now_s for until_s in self._paused.values())]
        if (due_s := await self._store.next_due_s()) is not None:
            known.append(due_s if not self._paused or due_s > 0 else _IDLE_S)
        return min(max(min(known), 0.05), _IDLE_S)

    async def _make(self, job: Job) -> None:
        if job.left_s <= 0:
            self.tries["expired"] += 1
            await _insist(lambda: self._store.fail(job, None, _TOO_LATE))
            return
        try:
            answered = await self._ask(job)
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                await self._store.put_back(job, 0.0, counts=False)
            raise
        except StoreUnavailable:
            await _insist(lambda: self._store.put_back(job, FAULT_S, counts=False))
            return
        except Exception:  # noqa: BLE001 - the edge of a job: a fault of ours must not lose it
            self.tries["again"] += 1
            _log.exception("job %s failed inside the runner; it is tried again", job.job_id)
            await _insist(lambda: self._store.put_back(job, _IDLE_S))
            return
        if answered.is_good:
            self.tries["answered"] += 1
        else:
            await self._after_failure(job, answered)

    async def _after_failure(self, job: Job, answered: Answered) -> None:
        if answered.is_limited:
            self.tries["limited"] += 1
            pause_s = max(answered.retry_after_s or FAULT_S, 0.05)
            self._paused[f"{job.tenant_id}/{job.key_id}"] = time.monotonic() + pause_s
            await _insist(lambda: self._store.put_back(job, pause_s, counts=False))
            return
        pause_s = pause_before_next(answered, job.tries, job.left_s, self._chance.random())
        self.tries["failed" if pause_s is None else "again"] += 1
        if pause_s is None:
            await _insist(lambda: self._store.fail(job, answered))
        else:
            await _insist(lambda: self._store.put_back(job, pause_s))


async def _insist(write: Callable[[], Awaitable[None]]) -> None:
    """Write down what came of a call, however long Postgres is away: until then nobody else may make it."""
    while True:
        try:
            await write()
            return
        except BackstayError:
            await asyncio.sleep(FAULT_S)
