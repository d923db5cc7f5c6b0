"""Limiters over one Postgres: what they admit, what comes back, and what they do while it is away."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backstay.core.caller import Caller, CallLimits
from backstay.core.clock import SystemClock
from backstay.core.errors import RateLimited
from backstay.core.ids import new_id
from backstay.limits import Admission, Limiter, Terms, give_back
from backstay.store import Database


def caller(**limits: int) -> Caller:
    return Caller(
        tenant_id="default", kind="key", id="key_1", name="k", rights=frozenset({"call"}), limits=CallLimits(**limits)
    )


async def admit(limiter: Limiter, by: Caller, tokens: int = 0) -> Admission:
    admission = await limiter.admit(by, user=None, feature=None, tokens=lambda: tokens)
    assert admission is not None
    admission.require()
    return admission


async def admitted(limiter: Limiter, by: Caller, tries: int) -> int:
    """How many of so many calls at once are admitted."""
    results = await asyncio.gather(*(admit(limiter, by) for _ in range(tries)), return_exceptions=True)
    assert all(isinstance(result, Admission | RateLimited) for result in results)
    return sum(isinstance(result, Admission) for result in results)


Start = Callable[[], AbstractAsyncContextManager[Limiter]]


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Start:
    return lambda: running(database, tmp_path)


@asynccontextmanager
async def running(database: Database, root: Path, **terms: Any) -> AsyncGenerator[Limiter]:
    """A limiter in step with the book, as in a worker."""
    limiter = new_limiter(database, root, **terms)
    task = asyncio.create_task(limiter.run())
    try:
        await asyncio.sleep(0.1)
        yield limiter
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await limiter.close()


def new_limiter(database: Database, root: Path, **terms: Any) -> Limiter:
    worker = new_id("wrk")
    folder = root / worker
    folder.mkdir()
    return Limiter(database, SystemClock(), worker=worker, folder=folder, terms=Terms(**terms))


async def test_two_workers_share_one_limit(start: Start) -> None:
    """However calls are spread, exactly as many as the limit are admitted, and refusals name the limit and the wait."""
    async with start() as one, start() as other:
        counts = await asyncio.gather(
            admitted(one, caller(requests_per_min=50), 40), admitted(other, caller(requests_per_min=50), 40)
        )
        more = [await admitted(each, caller(requests_per_min=50), 20) for each in (one, other)]
        await asyncio.sleep(0.6)
        late = [await admitted(each, caller(requests_per_min=50), 20) for each in (one, other)]
        assert sum(counts) + sum(more) + sum(late) == 50
        with pytest.raises(RateLimited) as caught:
            await admit(one, caller(requests_per_min=50))
        assert caught.value.retry_after_s is not None and 55 < caught.value.retry_after_s < 61
        assert caught.value.message.startswith("The key's limit of 50 requests a minute is used up.")
        assert other.refusals["key", "requests"] + one.refusals["key", "requests"] >= 71


async def test_what_another_worker_held_and_did_not_use_refuses_nobody(database: Database, tmp_path: Path) -> None:
    """Calls one after the other, at two workers in turn: each holds half of the limit and uses a twentieth."""
    by = caller(tokens_per_min=200)
    patient = {"patience_us": 5_000_000}
    async with running(database, tmp_path, **patient) as one, running(database, tmp_path, **patient) as other:
        for number in range(11):
            (await admit((one, other)[number % 2], by, tokens=100)).settle(10)
        with pytest.raises(RateLimited) as caught:
            await admit(one, by, tokens=100)
        assert caught.value.retry_after_s is not None and caught.value.retry_after_s > 30


async def test_what_a_stopped_worker_held_is_free_at_once(start: Start) -> None:
    """A worker that ends gives back what it did not use, and what it used goes on to count."""
    by = caller(requests_per_min=20)
    async with start() as other:
        async with start() as one:
            assert await admitted(one, by, 12) == 12
        assert await admitted(other, by, 20) == 8


@asynccontextmanager
async def killed(database: Database, folder: Path) -> AsyncGenerator[Limiter]:
    """A limiter that is found dead at the end: it gives back nothing itself."""
    limiter = Limiter(database, SystemClock(), worker="dead", folder=folder)
    task = asyncio.create_task(limiter.run())
    await asyncio.sleep(0.1)
    yield limiter
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await give_back(database, "dead", folder)
    await give_back(database, "dead", folder)  # whoever finds it may be killed in turn


async def test_what_a_killed_worker_had_borrowed_is_free_once_it_is_found(
    start: Start, database: Database, tmp_path: Path
) -> None:
    """All that it used counts, told or not, and nothing else: not one permit more or less is left to the others."""
    by = caller(requests_per_min=1000, tokens_per_min=100_000)
    async with start() as other:
        async with killed(database, tmp_path) as one:
            calls = list[Admission]()
            for _ in range(3):  # so much that it borrows ahead
                calls += await asyncio.gather(*(admit(one, by, tokens=100) for _ in range(100)))
            for call in calls[:10]:
                call.settle(10)
            used = len(calls)
        left = await asyncio.gather(*(admit(other, by) for _ in range(1000)), return_exceptions=True)
        assert sum(isinstance(result, Admission) for result in left) == 1000 - used
        await admit(other, caller(tokens_per_min=100_000), tokens=100_000 - 100 * used + 10 * 90)
        with pytest.raises(RateLimited):
            await admit(other, caller(tokens_per_min=100_000), tokens=1)


async def test_calls_that_a_killed_worker_had_running_end_once_it_is_found(
    start: Start, database: Database, tmp_path: Path
) -> None:
    """Its slots are free at once, not when it was not heard of for long."""
    by = caller(concurrency=3)
    async with start() as other:
        async with killed(database, tmp_path) as one:
            assert await admitted(one, by, 3) == 3
            assert await admitted(other, by, 1) == 0
        assert await admitted(other, by, 3) == 3


async def test_calls_at_once_wait_a_moment_for_one_that_ends(start: Start) -> None:
    """With one call at once, one after another is admitted on whichever worker; two at once are not."""
    by = caller(concurrency=1)
    async with start() as one, start() as other:
        for limiter in (one, other) * 5:
            admission = await admit(limiter, by)
            with pytest.raises(RateLimited):
                await admit(other if limiter is one else one, by)
            admission.settle(None)


async def test_tokens_are_settled(start: Start) -> None:
    """A call that used fewer tokens than it might gives the rest back for calls on another worker."""
    by = caller(tokens_per_min=1000)
    async with start() as one, start() as other:
        admission = await admit(one, by, tokens=900)
        with pytest.raises(RateLimited):
            await admit(other, by, tokens=200)
        admission.settle(100)
        admission.settle(900)  # only the first time counts
        await asyncio.sleep(0.5)
        await admit(other, by, tokens=900)
        with pytest.raises(RateLimited) as caught:
            await admit(one, by, tokens=1001)
        assert not caught.value.retryable


async def test_without_postgres_each_worker_keeps_to_its_share(database_url: str, tmp_path: Path) -> None:
    """Postgres goes away: two workers go on, with no more than the limit together, and nobody waits for long."""
    databases = [Database(database_url), Database(database_url)]
    by = caller(requests_per_min=100)
    async with running(databases[0], tmp_path) as one, running(databases[1], tmp_path) as other:
        await asyncio.sleep(1.2)  # a heartbeat: they know of each other
        counts = [await admitted(limiter, by, 10) for limiter in (one, other)]
        assert counts == [10, 10]
        await asyncio.sleep(0.7)
        for database in databases:
            database._pool._url = "postgresql://127.0.0.1:1/none"  # pyright: ignore[reportPrivateUsage]
            await database.close()
        await asyncio.sleep(1.3)
        alone = [await admitted(limiter, by, 200) for limiter in (one, other)]
        assert sum(alone) <= 80
        assert min(alone) >= 30
