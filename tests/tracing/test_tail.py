"""Following new calls: watchers hear of each call once it is in Postgres, of theirs only, and hold up nobody."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from trace_shipping import Ship, attempt, call

from backstay.store import Database
from backstay.tracing import CallFilter, Span, TraceStore
from backstay.tracing.tail import Tail

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def traces(database: Database) -> TraceStore:
    return TraceStore(database)


@asynccontextmanager
async def _following(
    traces: TraceStore, ship: Ship, tenant_id: str, wanted: CallFilter
) -> AsyncGenerator[asyncio.Queue[Span]]:
    """Follow, from the moment on when the listener is known to hear."""
    heard: asyncio.Queue[Span] = asyncio.Queue()
    is_listening = asyncio.Event()

    async def follow() -> None:
        async for calls in traces.tail(tenant_id, wanted):
            for span in calls:
                if span.model == "marker":
                    is_listening.set()
                else:
                    heard.put_nowait(span)

    task = asyncio.create_task(follow())
    while not is_listening.is_set():
        await ship(tenant_id, call(NOON, model="marker", user_id=wanted.user))
        await asyncio.sleep(0.05)
    yield heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _take(heard: asyncio.Queue[Span], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [(await heard.get()).span_id for _ in range(count)]


async def test_new_calls_are_told_in_the_order_in_which_they_are_shipped(traces: TraceStore, ship: Ship, tenant: str):
    """A long call that began before others is told when it ends; attempts and repeats are not told."""
    short, long = call(NOON), call(NOON - timedelta(hours=1))
    async with _following(traces, ship, tenant, CallFilter()) as heard:
        await ship(tenant, [short, attempt(short)])
        await ship(tenant, short, long)
        assert await _take(heard, 2) == [short.span_id, long.span_id]
        assert heard.empty()


async def test_a_batch_larger_than_a_notification_is_told_whole(traces: TraceStore, ship: Ship, tenant: str):
    """Five hundred calls shipped at once are all told."""
    calls = [call(NOON + timedelta(microseconds=number)) for number in range(500)]
    async with _following(traces, ship, tenant, CallFilter()) as heard:
        await ship(tenant, *calls)
        assert set(await _take(heard, 500)) == {made.span_id for made in calls}


async def test_a_watcher_hears_what_its_filter_lets_through_of_its_tenant(traces: TraceStore, ship: Ship, tenant: str):
    """Another tenant's calls, and those that the filter leaves out, are not told."""
    wanted, unwanted, foreign = call(NOON, user_id="jo"), call(NOON, user_id="mo"), call(NOON, user_id="jo")
    async with _following(traces, ship, tenant, CallFilter(user="jo")) as heard:
        await ship("default", foreign)
        await ship(tenant, unwanted)
        await ship(tenant, wanted)
        assert await _take(heard, 1) == [wanted.span_id]


async def test_silence_is_told_too(traces: TraceStore, tenant: str):
    """An empty batch comes now and then, so that a connection that is gone is noticed."""
    following = traces.tail(tenant, heartbeat_s=0.05)
    async with asyncio.timeout(5):
        assert [await anext(following), await anext(following)] == [[], []]
    await cast(AsyncGenerator[Sequence[Span]], following).aclose()


async def test_a_watcher_that_leaves_is_forgotten(database: Database, tenant: str):
    """Nothing is kept for watchers that have gone."""

    async def read(*_: object) -> list[Span]:
        return []

    tail = Tail(database, read)
    following = tail.follow(tenant, CallFilter(), heartbeat_s=0.01)
    await anext(following)
    await cast(AsyncGenerator[Sequence[Span]], following).aclose()
    assert tail.watched_tenants == 0
