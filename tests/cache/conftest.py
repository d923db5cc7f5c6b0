"""Owns the fixtures of the cache's tests: workers that share one Postgres."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from cache_clock import HandClock

from backstay.cache import Cache
from backstay.store import Database


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@asynccontextmanager
async def _running(cache: Cache) -> AsyncGenerator[Cache]:
    cache.start()
    task = asyncio.create_task(cache.run())
    try:
        yield cache
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def new_worker(database_url: str, clock: HandClock) -> AsyncIterator[Callable[[], Awaitable[Cache]]]:
    """Start the cache of one more worker."""
    async with AsyncExitStack() as stack:

        async def make() -> Cache:
            database = Database(database_url)
            stack.push_async_callback(database.close)
            cache = await stack.enter_async_context(_running(Cache(database, clock, memory_bytes=1 << 20)))
            await asyncio.sleep(0.05)  # the listener's connection stands
            return cache

        yield make


@pytest.fixture
async def cache(new_worker: Callable[[], Awaitable[Cache]]) -> Cache:
    return await new_worker()
