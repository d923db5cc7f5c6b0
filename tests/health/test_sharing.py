"""Tests of the exchange of health among workers, over a real Postgres."""

import asyncio
from collections.abc import Callable

from backstay.core.clock import SystemClock
from backstay.health import Fleet, HealthSharing, HealthStore, RateLimits
from backstay.store import Database


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_workers_share_what_they_find_out(database: Database) -> None:
    """A breaker that opens at one worker makes the other check; drains reach both, and both report."""
    clock, fleets = SystemClock(), [Fleet(), Fleet()]
    store = HealthStore(database)
    await store.set_drained("old/target", True, by="ops")
    tasks = [
        asyncio.create_task(HealthSharing(fleet, database, clock, worker=f"w{number}").run())
        for number, fleet in enumerate(fleets)
    ]
    try:
        await until(lambda: all(fleet.of("old/target").drained for fleet in fleets))
        await asyncio.sleep(0.3)  # the first look has been: what opens from now on is news
        fleets[0].of("acme/x").breaker.open(clock.monotonic_ns() * 1e-9, "errors")
        await until(lambda: fleets[1].of("acme/x").breaker.cause == "peer")
        assert fleets[0].of("acme/x").breaker.cause == "errors"
        await store.set_drained("old/target", False, by="ops")
        await until(lambda: not any(fleet.of("old/target").drained for fleet in fleets))
        assert await store.drains() == []
        reports: list[str] = []

        async def both_report() -> None:
            while len(set(reports)) < 2:
                reports[:] = [report.worker for report in await store.reports() if report.state.target == "acme/x"]
                await asyncio.sleep(0.1)

        await asyncio.wait_for(both_report(), 10.0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_workers_that_ask_a_target_divide_its_rate_limit(database: Database) -> None:
    """Each has used half of what the operator says is allowed: together they have used it up, and both know."""
    clock, fleets = SystemClock(), [Fleet(), Fleet()]
    now_s = clock.monotonic_ns() * 1e-9
    for fleet in fleets:
        fleet.configure({"acme/x": RateLimits(requests_per_min=60)})
        health = fleet.of("acme/x")
        for _ in range(30):
            health.end(health.begin(now_s, stream=False), now_s, "ok")
        assert health.availability(now_s).readiness == "ready"
    tasks = [
        asyncio.create_task(HealthSharing(fleet, database, clock, worker=f"w{number}").run())
        for number, fleet in enumerate(fleets)
    ]
    try:
        await until(lambda: all(fleet.of("acme/x").availability(now_s).readiness == "limited" for fleet in fleets))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
