"""Answers that are given again, over a real Postgres and several workers."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest
from asking import POLICY, QUESTION, CountedModel, ask, call, keep
from cache_clock import HandClock

from backstay.cache import Cache, Hit, Purge
from backstay.cache.cache import Lead
from backstay.cache.figures import watch
from backstay.cache.store import CacheStore
from backstay.cache.types import Answer
from backstay.core.chat import FinishReason
from backstay.core.errors import InvalidRequest, NotCached, ProviderUnreachable
from backstay.core.ports import Values
from backstay.store import Database

NewWorker = Callable[[], Awaitable[Cache]]


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float = 5.0) -> None:
    give_up = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        await asyncio.sleep(0.02)


async def is_hit(cache: Cache, **more: Any) -> bool:
    found = await cache.recall(ask(**more))
    if isinstance(found, Lead):
        found.fail()
    return isinstance(found, Hit)


async def keep_one(cache: Cache, **more: Any) -> None:
    """Answer the usual question, and wait until Postgres has it."""
    lead = await cache.recall(ask(**more))
    assert isinstance(lead, Lead)
    keep(lead)
    await cache.keeper.flush()


_KEEP = """
insert into cache_entries (tenant_id, key, model, dialect, body, usage, target, trace_id, created_at, expires_at)
values (%(tenant_id)s, %(key)s, 'm', 'openai', 'kept', '{}', 'sim/m', 'ab', now(), now() + interval '1 hour')
"""


async def is_waiting_for_a_lock(database: Database) -> bool:
    async with database.system() as connection:
        row = await (await connection.execute("select count(*) as n from pg_locks where not granted")).fetchone()
    return row is not None and row["n"] > 0


async def claims(database: Database) -> int:
    async with database.system() as connection:
        row = await (await connection.execute("select count(*) as n from cache_claims")).fetchone()
    assert row is not None
    return row["n"]


async def test_a_hit_names_its_origin_and_age(cache: Cache, clock: HandClock) -> None:
    """The second of two equal calls is answered from memory, says so, and knows what it saves."""
    await keep_one(cache)
    clock.advance(5)
    found = await cache.recall(ask())
    assert isinstance(found, Hit)
    assert (found.answer.body, found.answer.cost_nanousd) == (b'{"text": "Paris."}', 2250)
    assert dict(found.headers()) == {
        b"x-backstay-cache": b"hit",
        b"x-backstay-cache-trace-id": b"ab" * 16,
        b"age": b"5",
    }


async def test_workers_share(cache: Cache, new_worker: NewWorker) -> None:
    """What one worker kept another one gives, byte for byte, though it began later."""
    await keep_one(cache)
    other = await new_worker()
    found = await other.recall(ask())
    assert isinstance(found, Hit)
    first = await cache.recall(ask())
    assert isinstance(first, Hit)
    assert msgspec.structs.replace(found.answer, created_ns=0, expires_ns=0) == msgspec.structs.replace(
        first.answer, created_ns=0, expires_ns=0
    )


async def test_tenants_do_not_share(cache: Cache, new_worker: NewWorker) -> None:
    """The same request of another tenant is another question, in memory and in Postgres."""
    await keep_one(cache)
    assert not await is_hit(cache, tenant_id="rival")
    assert not await is_hit(await new_worker(), tenant_id="rival")


async def test_an_answer_expires(cache: Cache, clock: HandClock) -> None:
    """After its time to live the model is asked again."""
    await keep_one(cache)
    clock.advance(3601)
    cache.memory.clear()
    assert cache.memory.get(ask().key, clock.now_ns()) is None


@pytest.mark.parametrize(
    ("ending", "kept"),
    [("stop", True), ("length", True), ("tool_calls", True), ("content_filter", False), ("refusal", False),
     ("error", False), ("pause", False)],
)  # fmt: skip
async def test_only_good_answers_are_kept(cache: Cache, ending: FinishReason, kept: bool) -> None:
    """What was filtered, refused or broken off is asked for again."""
    lead = await cache.recall(ask())
    assert isinstance(lead, Lead)
    keep(lead, finish_reason=ending)
    await cache.keeper.flush()
    assert await is_hit(cache) == kept


async def test_too_large_an_answer_is_not_kept(cache: Cache) -> None:
    """The policy bounds one answer."""
    policy = msgspec.structs.replace(POLICY, max_answer_bytes=10)
    lead = await cache.recall(ask(policy=policy))
    assert isinstance(lead, Lead)
    keep(lead)
    assert not await is_hit(cache)


async def test_no_cache_asks_and_replaces(cache: Cache) -> None:
    """With ``no-cache`` the model is asked, and its answer is what others get from then on."""
    await keep_one(cache)
    lead = await cache.recall(ask(cache_control="no-cache"))
    assert isinstance(lead, Lead)
    keep(lead, "Paris, still.")
    found = await cache.recall(ask())
    assert isinstance(found, Hit) and found.answer.body == b'{"text": "Paris, still."}'


async def test_what_is_replaced_is_forgotten_by_every_worker(
    cache: Cache, new_worker: NewWorker, clock: HandClock
) -> None:
    """A new answer that was asked for is given by the workers that had the old one at hand, too."""
    other = await new_worker()
    await keep_one(cache)
    assert await is_hit(other)
    clock.advance(1)
    lead = await cache.recall(ask(cache_control="no-cache"))
    assert isinstance(lead, Lead)
    keep(lead, "Still Paris.")
    await cache.keeper.flush()

    async def has_the_new_one() -> bool:
        found = await other.recall(ask())
        return isinstance(found, Hit) and b"Still" in found.answer.body

    await until(has_the_new_one)
    assert await has_the_new_one() and len(cache.memory) == 1, "who has the new one at hand keeps it"


async def test_max_age_refuses_what_is_older(cache: Cache, clock: HandClock) -> None:
    """With ``max-age`` an older answer is not given, and others still get it."""
    await keep_one(cache)
    clock.advance(60)
    assert await is_hit(cache, cache_control="max-age=60")
    assert not await is_hit(cache, cache_control="max-age=59")
    assert await is_hit(cache)


async def test_only_if_cached_never_asks(cache: Cache, new_worker: NewWorker) -> None:
    """With ``only-if-cached`` there is an answer from any worker, or a refusal."""
    with pytest.raises(NotCached):
        await cache.recall(ask(cache_control="only-if-cached"))
    await keep_one(cache)
    assert await is_hit(await new_worker(), cache_control="only-if-cached")


async def test_a_thousand_callers_make_one_call(cache: Cache) -> None:
    """1,000 equal calls at once: the model is asked once, and all have its answer."""
    model = CountedModel()
    answers = await asyncio.gather(*(call(cache, ask(), model) for _ in range(1000)))
    assert model.calls == 1
    assert sum(isinstance(answer, Hit) for answer in answers) == 999


async def test_four_workers_make_one_call(new_worker: NewWorker) -> None:
    """Equal calls at four workers at once: the model is asked once."""
    model = CountedModel(latency_s=0.3)
    workers = [await new_worker() for _ in range(4)]
    answers = await asyncio.gather(*(call(worker, ask(), model) for worker in workers for _ in range(50)))
    assert model.calls == 1
    assert sum(isinstance(answer, Hit) for answer in answers) == 199


async def test_an_answer_that_comes_between_look_and_claim_is_found(
    database: Database, database_url: str, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks just before another worker keeps its answer, and claims just after, has that answer."""
    monkeypatch.setattr("backstay.cache.store.LOOKUP_S", 30.0)
    asked = ask(tenant_id=tenant)
    first, second = CacheStore(database, "wrk_1"), CacheStore(database, "wrk_2")
    assert await first.find_or_claim(asked) is True
    async with await psycopg.AsyncConnection[Any].connect(database_url) as other:
        await other.execute("delete from cache_claims")
        looking = asyncio.create_task(second.find_or_claim(asked))
        await until(partial(is_waiting_for_a_lock, database))
        await other.execute(_KEEP, {"tenant_id": tenant, "key": asked.key})
    found = await looking
    assert isinstance(found, Answer) and found.body == b"kept"
    assert await claims(database) == 0


async def test_another_worker_takes_over_from_one_that_fails(new_worker: NewWorker) -> None:
    """Where the worker that asked fails, another one asks, and soon."""
    first, second = await new_worker(), await new_worker()
    lead = await first.recall(ask())
    assert isinstance(lead, Lead)
    model = CountedModel(latency_s=0)
    waiting = asyncio.create_task(call(second, ask(), model))
    await asyncio.sleep(0.2)
    assert model.calls == 0
    began = time.monotonic()
    lead.fail(ProviderUnreachable())
    assert await waiting == "Paris, 1."
    assert time.monotonic() - began < 0.9, "it is told, and does not wait for its next look"


async def test_a_worker_that_dies_is_not_waited_for_long(new_worker: NewWorker) -> None:
    """A claim whose worker is gone runs out, and one of those who wait asks."""
    policy = msgspec.structs.replace(POLICY, wait_s=1.0)
    first, second, third = [await new_worker() for _ in range(3)]
    assert isinstance(await first.recall(ask(policy=policy)), Lead)
    model = CountedModel()
    answers = await asyncio.gather(*(call(worker, ask(policy=policy), model) for worker in (second, third)))
    assert 1 <= model.calls <= 2 and len(answers) == 2


async def test_one_follows_a_leader_that_fails(cache: Cache) -> None:
    """Where the leader fails, one of those who wait asks, and the others wait for that one."""
    model = CountedModel(problems=[ProviderUnreachable()])
    answers = await asyncio.gather(*(call(cache, ask(), model) for _ in range(100)), return_exceptions=True)
    assert model.calls == 2
    assert sum(isinstance(answer, ProviderUnreachable) for answer in answers) == 1
    assert sum(isinstance(answer, Hit) for answer in answers) == 98


async def test_what_fails_for_one_fails_for_all(cache: Cache) -> None:
    """An error that asking again would not mend is told to all who wait, as is a third failure in a row."""
    model = CountedModel(problems=[InvalidRequest("no")])
    answers = await asyncio.gather(*(call(cache, ask(), model) for _ in range(100)), return_exceptions=True)
    assert (model.calls, sum(isinstance(answer, InvalidRequest) for answer in answers)) == (1, 100)
    model = CountedModel(problems=[ProviderUnreachable() for _ in range(50)])
    answers = await asyncio.gather(*(call(cache, ask(), model) for _ in range(100)), return_exceptions=True)
    assert (model.calls, sum(isinstance(answer, ProviderUnreachable) for answer in answers)) == (3, 100)


async def test_a_follower_leaves_quietly(cache: Cache) -> None:
    """Callers that go away while they wait change nothing for the others."""
    model = CountedModel()
    tasks = [asyncio.create_task(call(cache, ask(), model)) for _ in range(10)]
    await asyncio.sleep(0.02)
    for task in tasks[3:6]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert model.calls == 1
    assert sum(isinstance(answer, Hit) for answer in answers) == 6


async def test_a_call_outlives_its_caller_while_others_wait(cache: Cache) -> None:
    """The leader's caller goes away: the model is not asked again, and those who wait have its answer."""
    model = CountedModel(latency_s=0.2)
    leader = asyncio.create_task(call(cache, ask(), model))
    await asyncio.sleep(0.05)
    followers = [asyncio.create_task(call(cache, ask(), model)) for _ in range(5)]
    await asyncio.sleep(0.02)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert all(isinstance(answer, Hit) for answer in await asyncio.gather(*followers))
    assert model.calls == 1


async def test_a_call_that_nobody_waits_for_is_cancelled(cache: Cache) -> None:
    """The leader and then the last follower go away: the call to the model ends, and the next caller asks anew."""
    model = CountedModel(latency_s=5)
    leader = asyncio.create_task(call(cache, ask(), model))
    await asyncio.sleep(0.05)
    follower = asyncio.create_task(call(cache, ask(), model))
    await asyncio.sleep(0.02)
    for task in (leader, follower):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.02)
    model.latency_s = 0
    assert await asyncio.wait_for(call(cache, ask(), model), 2) == "Paris, 2."


async def test_a_caller_that_leaves_at_any_step_blocks_nobody(cache: Cache) -> None:
    """A caller is cancelled after 0, 1, 2, … steps of the loop: the next one is always answered."""
    for steps in range(40):
        asked = ask({"messages": [{"role": "user", "content": str(steps)}]})
        model = CountedModel(latency_s=0)
        task = asyncio.create_task(call(cache, asked, model))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(call(cache, asked, model), 2)


async def test_a_slow_leader_is_joined_by_one(cache: Cache) -> None:
    """A leader that takes longer than callers wait is joined by one of them, and the first answer counts for all."""
    policy = msgspec.structs.replace(POLICY, wait_s=0.3)
    slow, quick = CountedModel(latency_s=60), CountedModel(latency_s=0)
    leader = asyncio.create_task(call(cache, ask(policy=policy), slow))
    await asyncio.sleep(0.1)
    answers = await asyncio.gather(*(call(cache, ask(policy=policy), quick) for _ in range(20)))
    leader.cancel()
    assert quick.calls == 1 and sum(isinstance(answer, Hit) for answer in answers) == 19


async def test_a_purge_reaches_every_worker(cache: Cache, new_worker: NewWorker) -> None:
    """What is purged on one worker no other worker gives any more."""
    other = await new_worker()
    await keep_one(cache)
    assert await is_hit(other)
    assert await cache.purge(Purge(tenant_id="acme", model="other")) == 0
    assert await is_hit(other)
    assert await cache.purge(Purge(tenant_id="acme", trace_id="ab" * 16)) == 1
    assert not await is_hit(cache)
    await until(lambda: _is_gone(other))


async def _is_gone(cache: Cache) -> bool:
    return len(cache.memory) == 0


async def test_what_the_cache_does_is_counted(cache: Cache) -> None:
    """For Prometheus: hits, misses and joined calls by model, purges and what they let go, bytes at hand."""
    families: dict[str, Callable[[], Values]] = {}
    watch(cache, lambda name, help, kind, read: families.__setitem__(name, read))
    assert list(families["backstay_cache_hits_total"]()) == []
    model = CountedModel()
    await asyncio.gather(*(call(cache, ask(), model) for _ in range(4)))
    assert await is_hit(cache)
    await cache.keeper.flush()
    await cache.purge(Purge(tenant_id="acme"))
    await cache.purge(Purge(tenant_id="acme"))
    by_model = {"model": "m"}
    assert {name: list(read()) for name, read in families.items()} == {
        "backstay_cache_hits_total": [({**by_model, "kind": "hit"}, 4)],
        "backstay_cache_misses_total": [(by_model, 1)],
        "backstay_cache_joins_total": [(by_model, 3)],
        "backstay_cache_purges_total": [({}, 2)],
        "backstay_cache_purged_total": [({}, 1)],
        "backstay_cache_memory_bytes": [({}, 0)],
    }


async def test_a_purge_takes_what_is_not_written_yet(cache: Cache) -> None:
    """An answer on its way to Postgres does not come back after a purge."""
    lead = await cache.recall(ask())
    assert isinstance(lead, Lead)
    keep(lead)
    await cache.purge(Purge(tenant_id="acme"))
    await cache.keeper.flush()
    assert not await is_hit(cache)


async def test_without_postgres_the_cache_goes_on_alone(cache: Cache, database_url: str) -> None:
    """Postgres goes away: a worker asks, keeps and shares among its own callers, and loses no time."""
    dead = Cache(Database("postgresql://nobody@127.0.0.1:1/none"), HandClock(), memory_bytes=1 << 20)
    model = CountedModel(latency_s=0)
    first = await asyncio.wait_for(call(dead, ask(), model), 2)
    assert first == "Paris, 1." and isinstance(await call(dead, ask(), model), Hit)
    began = time.monotonic()
    await call(dead, ask(feature="x", policy=msgspec.structs.replace(POLICY, scope="feature")), model)
    assert time.monotonic() - began < 0.1, "it was found away just now, and is not asked again so soon"


async def test_the_oldest_goes_beyond_the_bound(cache: Cache, database: Database) -> None:
    """Of a model that keeps too much, the oldest answers are swept away."""
    for number in range(10):
        asked = ask({"messages": [{"role": "user", "content": str(number)}]})
        lead = await cache.recall(asked)
        assert isinstance(lead, Lead)
        keep(lead, trace_id=f"{number:032x}")
        await cache.keeper.flush()
    store = CacheStore(database, "sweeper")
    await store.sweep({"m": 4 * 1100, "other": 0})
    (group,) = await store.stats("acme", since=dt.date.today() - dt.timedelta(days=1))
    assert group.entries == 4
    async with database.tenant("acme") as connection:
        rows = await (await connection.execute("select trace_id from cache_entries")).fetchall()
    assert sorted(int(row["trace_id"], 16) for row in rows) == [6, 7, 8, 9]


async def test_the_sweep_leaves_expired_answers_for_outages(cache: Cache, database: Database) -> None:
    """An expired answer stays for as long as the policy may want it, is no hit meanwhile, and then goes."""
    store = CacheStore(database, "sweeper")
    short = msgspec.structs.replace(POLICY, ttl_s=1)
    stale = ask({**QUESTION, "seed": 1}, policy=msgspec.structs.replace(short, stale_s=60))
    gone = ask({**QUESTION, "seed": 2}, policy=short)
    for each in (stale, gone):
        lead = await cache.recall(each)
        assert isinstance(lead, Lead)
        keep(lead)
    await cache.keeper.flush()
    await asyncio.sleep(1.1)
    assert await store.find(stale) is None
    assert await store.find_stale(stale) is not None and await store.find_stale(gone) is None
    await store.sweep({})
    async with database.tenant("acme") as connection:
        assert len(await (await connection.execute("select from cache_entries")).fetchall()) == 1
    async with database.system() as connection:
        await connection.execute("update cache_entries set keep_until = now() - interval '1 second'")
    await store.sweep({})
    async with database.tenant("acme") as connection:
        assert await (await connection.execute("select from cache_entries")).fetchall() == []


async def test_stats_tell_what_was_saved(cache: Cache, database: Database) -> None:
    """Hits, misses, entries and the money that the hits would have cost are counted by model and feature."""
    await keep_one(cache)
    for _ in range(3):
        assert await is_hit(cache)
    await cache.keeper.flush()
    (group,) = await CacheStore(database, "reader").stats("acme", since=dt.date.today() - dt.timedelta(days=1))
    assert (group.model, group.feature, group.entries, group.hits, group.misses) == ("m", "search", 1, 3, 1)
    assert group.saved_nanousd == 3 * 2250
    assert await CacheStore(database, "reader").stats("rival", since=dt.date(2020, 1, 1)) == []
