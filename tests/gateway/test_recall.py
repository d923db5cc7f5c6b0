"""Kept answers on the way of a call: real gateway, real cache, simulated providers of both dialects."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_house import WIRES, House, MemorySink, open_house

from backstay.cache import Cache, CachePolicy
from backstay.core.clock import SystemClock
from backstay.gateway import Degraded, Models, RetryPolicy, Route
from backstay.idempotency import Claims
from backstay.providers.simulator import Simulator
from backstay.store import Database


@pytest.fixture
def cached(tmp_path: Path, database: Database) -> Iterator[House]:
    """A gateway with a cache and a slow model ``m``."""
    with open_house(tmp_path) as house:
        house.gateway.cache = Cache(database, SystemClock(), memory_bytes=1 << 20)
        house.offer("m", Simulator("sim", script={"latency_s": 0.1}))
        (model,) = house.gateway.models
        policy = CachePolicy(exact=True, targets=("sim/gpt-4o-mini",))
        house.gateway.models = Models({"m": msgspec.structs.replace(model, cache=policy)})
        yield house


@pytest.fixture
async def once(cached: House, database: Database, tenant: str) -> AsyncIterator[House]:
    """The same, looking at idempotency keys."""
    cached.gateway.claims = Claims(database, SystemClock())
    upkeep = asyncio.create_task(cached.gateway.claims.run())
    yield cached
    upkeep.cancel()
    await asyncio.gather(upkeep, return_exceptions=True)


def upstream(house: House) -> int:
    return sum(span.kind == "attempt" for document in house.documents for span in document.spans)


def text(sink: MemorySink, dialect: str) -> str:
    return sink.json["choices"][0]["message"]["content"] if dialect == "openai" else sink.json["content"][0]["text"]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("first_streams", [False, True])
async def test_the_second_call_is_a_hit(cached: House, wire: str, first_streams: bool) -> None:
    """Whole or streamed, the second of two equal calls has the first one's text, costs nothing, and is in the books."""
    dialect, body = WIRES[wire]
    streamed: dict[str, Any] = {**body, "stream": True}
    first = await cached.call(streamed if first_streams else body, dialect=dialect)
    whole, again = await cached.call(body, dialect=dialect), await cached.call(streamed, dialect=dialect)
    assert upstream(cached) == 1 and first.ended and again.ended
    assert first.headers["x-backstay-cache"] == "miss"
    assert whole.headers["x-backstay-cache"] == again.headers["x-backstay-cache"] == "hit"
    assert whole.headers["x-backstay-cost-usd"] == "0.000000"
    assert whole.headers["x-backstay-cache-trace-id"] == first.headers["x-backstay-trace-id"]
    assert b"text/event-stream" in again.headers["content-type"].encode()
    said = text(whole, wire)
    assert said and said.split()[0].encode() in again.body
    roots = [document.spans[0] for document in cached.documents]
    assert [root.cost_nanousd == 0 for root in roots] == [False, True, True]
    assert roots[1].attributes["backstay.cache"] == "hit"


async def test_a_thousand_equal_calls_ask_once(cached: House) -> None:
    """1,000 equal calls at once make one upstream call."""
    _, body = WIRES["openai"]
    sinks = await asyncio.gather(*(cached.call(body) for _ in range(1000)))
    assert upstream(cached) == 1
    assert {sink.status for sink in sinks} == {200}


async def test_the_caller_leaves_and_the_others_have_the_answer(cached: House) -> None:
    """The first caller goes away while others wait: its call goes on, is recorded as whole, and is theirs."""
    _, body = WIRES["openai"]
    first = asyncio.create_task(cached.call(body))
    await asyncio.sleep(0.03)
    others = [asyncio.create_task(cached.call(body)) for _ in range(3)]
    await asyncio.sleep(0.02)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [sink.status for sink in await asyncio.gather(*others)] == [200] * 3
    assert upstream(cached) == 1 and cached.gateway.open_calls == 0
    assert [document.spans[0].status for document in cached.documents] == ["ok"] * 4


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_leaves_at_the_end_loses_no_answer(cached: House, stream: bool) -> None:
    """A caller goes away during the last bytes: the answer is whole and paid, so that an equal call is a hit."""

    def leave(chunk: bytes) -> None:
        if not stream or b"[DONE]" in chunk:
            raise asyncio.CancelledError

    body = {**WIRES["openai"][1], "stream": stream}
    with pytest.raises(asyncio.CancelledError):
        await cached.call(body, sink=MemorySink(leave))
    assert (await cached.call(body)).headers["x-backstay-cache"] == "hit"
    assert [document.spans[0].status for document in cached.documents] == ["ok", "ok"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hit_is_kept_for_repeats_too(once: House, stream: bool) -> None:
    """Keys share the cache; the first call of each is a hit, and its repeat gets the very same bytes."""
    body = {**WIRES["openai"][1], "stream": stream}
    first = await once.call(body, idempotency_key="a")
    hit = await once.call(body, idempotency_key="b")
    repeat = await once.call(body, idempotency_key="b")
    assert [first.headers["x-backstay-cache"], hit.headers["x-backstay-cache"]] == ["miss", "hit"]
    assert repeat.headers["idempotency-replayed"] == "true" and repeat.body == hit.body
    origin = first.headers["x-backstay-trace-id"]
    assert hit.headers["x-backstay-cache-trace-id"] == repeat.headers["x-backstay-cache-trace-id"] == origin
    assert upstream(once) == 1


@pytest.mark.parametrize("loses", [False, True])
async def test_a_key_ends_the_call_that_others_wait_for(once: House, loses: bool) -> None:
    """Who asks with a key goes away, or its claim is lost: the provider's call ends at once, the next in line asks."""
    _, body = WIRES["openai"]
    first = asyncio.create_task(once.call(body, idempotency_key="a"))
    async with asyncio.timeout(5):
        # The journal of tests has no event to wait for.
        while not any(kind == "intent" for kind, _ in once.journal.entries):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    others = [asyncio.create_task(once.call(body)) for _ in range(3)]
    await asyncio.sleep(0.02)
    if loses:
        assert once.gateway.claims is not None
        (claim,) = once.gateway.claims.running
        claim.lose()
        assert (await first).json["error"]["code"] == "store_unavailable"
    else:
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    cut = once.documents[0]
    assert [span.status for span in cut.spans] == ["error" if loses else "cancelled", "cancelled"]
    assert [sink.status for sink in await asyncio.gather(*others)] == [200] * 3
    assert upstream(once) == 2 and once.gateway.open_calls == 0


class LateClock(SystemClock):
    """The machine's clock, and some."""

    late_s = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.late_s * 1_000_000_000


STALE = CachePolicy(exact=True, ttl_s=1, stale_s=3600, targets=("sim/gpt-4o-mini",))


@pytest.fixture
async def clock(cached: House, database: Database, tenant: str) -> AsyncIterator[LateClock]:
    """Of a gateway whose answers live for a second, and may be given for an hour more."""
    clock = LateClock()
    cache = cached.gateway.cache = Cache(database, clock, memory_bytes=1 << 20)
    upkeep = asyncio.create_task(cache.run())
    cached.offer("m", Simulator("sim"))
    (model,) = cached.gateway.models
    cached.gateway.models = Models({"m": msgspec.structs.replace(model, cache=STALE)})
    yield clock
    upkeep.cancel()
    await asyncio.gather(upkeep, return_exceptions=True)


async def expire(clock: LateClock) -> None:
    """Let what was kept just now expire, by Postgres' clock too."""
    clock.late_s = 60
    await asyncio.sleep(1.2)


def take_down(house: House, degraded: Degraded, status: int = 503) -> None:
    fault = {"kind": "status", "status": status}
    route = Route(retry=RetryPolicy(retries=0), degraded=degraded)
    house.offer("m", Simulator("sim", script={"faults": [fault]}), route=route)
    (model,) = house.gateway.models
    house.gateway.models = Models({"m": msgspec.structs.replace(model, cache=STALE)})


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("from_postgres", [False, True])
async def test_an_expired_answer_stands_in(cached: House, clock: LateClock, wire: str, from_postgres: bool) -> None:
    """With all targets down an expired answer is given, whole or as a stream, marked, for nothing, with its origin."""
    dialect, body = WIRES[wire]
    first = await cached.call(body, dialect=dialect)
    assert cached.gateway.cache is not None
    await expire(clock)
    take_down(cached, Degraded(cache_stale=True, message="Later."))
    for stream in (False, True):
        if from_postgres:
            cached.gateway.cache.memory.clear()
        given = await cached.call({**body, "stream": stream}, dialect=dialect)
        assert (given.status, given.headers["x-backstay-degraded"]) == (200, "cache_stale")
        assert (given.headers["x-backstay-cache"], int(given.headers["age"]) >= 60) == ("stale", True)
        assert given.headers["x-backstay-cache-trace-id"] == first.headers["x-backstay-trace-id"]
        root, tried = cached.documents[-1].spans
        assert (root.cost_nanousd, root.attributes["backstay.degraded"], tried.status) == (0, "cache_stale", "error")
        assert "backstay.cache.saved_nanousd" not in root.attributes
        if stream:
            assert given.headers["content-type"].startswith("text/event-stream")
            assert text(first, wire).split()[0].encode() in given.body
        else:
            assert given.body == first.body


async def test_an_expired_answer_is_not_for_everyone(cached: House, clock: LateClock) -> None:
    """It answers no other request, nor who wants a new answer, nor a bad request; and it comes before a message."""
    _, body = WIRES["openai"]
    await cached.call(body)
    await expire(clock)
    take_down(cached, Degraded(cache_stale=True, message="Later."))
    for control in ("no-cache", "no-store", "max-age=30"):
        given = await cached.call(body, cache_control=control)
        assert given.headers["x-backstay-degraded"] == "message", control
    assert (await cached.call({**body, "seed": 1})).headers["x-backstay-degraded"] == "message"
    assert (await cached.call(body, cache_control="max-age=90")).headers["x-backstay-degraded"] == "cache_stale"
    take_down(cached, Degraded(message="Later."))
    assert (await cached.call(body)).headers["x-backstay-degraded"] == "message"
    take_down(cached, Degraded(cache_stale=True), status=400)
    assert (await cached.call(body)).status == 400


async def test_all_who_wait_get_the_expired_answer(cached: House, clock: LateClock) -> None:
    """Of a hundred equal calls in an outage one asks the target, and all get the expired answer, marked."""
    _, body = WIRES["openai"]
    await cached.call(body)
    await expire(clock)
    take_down(cached, Degraded(cache_stale=True))
    tried = upstream(cached)
    sinks = await asyncio.gather(*(cached.call(body) for _ in range(100)))
    assert {(sink.status, sink.headers["x-backstay-degraded"]) for sink in sinks} == {(200, "cache_stale")}
    assert upstream(cached) == tried + 1
