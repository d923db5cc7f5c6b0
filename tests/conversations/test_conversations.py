"""Tests of kept conversations: readable at once by every worker, by nobody else, as long as they are gone on with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backstay.conversations import MERGE_RESPONSES, Conversations, Turn
from backstay.conversations import keeper as keeper_module
from backstay.conversations import store as store_module
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.errors import InvalidRequest, NotFound, PreviousResponseNotFound, StoreUnavailable
from backstay.store import Database, Journal, Shipper

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def caller(key_id: str = "key_1", tenant_id: str = "acme", *rights: str) -> Caller:
    return Caller(tenant_id=tenant_id, kind="key", id=key_id, name="test", rights=frozenset({"call", *rights}))


def turn(number: int, key_id: str = "key_1", **more: Any) -> Turn:
    previous = f"resp_{number - 1}" if number else None
    fields = {"previous_id": previous, "said": f'["said {number}"]', "response": f'{{"id": "resp_{number}"}}', **more}
    return Turn(response_id=f"resp_{number}", key_id=key_id, **fields)


@pytest.fixture
async def journal(journal_root: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(journal_root / "0")
    yield journal
    journal.close()


@pytest.fixture
def conversations(database: Database, journal: Journal, tenant: str) -> Conversations:
    return Conversations(database, journal, SystemClock())


@pytest.fixture
async def other_worker(database_url: str, journal: Journal, tenant: str) -> AsyncIterator[Conversations]:
    """The same Postgres, and nothing else in common."""
    database = Database(database_url)
    yield Conversations(database, journal, SystemClock())
    await database.close()


async def execute(database: Database, statement: Any, *values: Any) -> int:
    async with database.system() as connection:
        return (await connection.execute(statement, values)).rowcount


async def test_a_turn_can_be_gone_on_from_at_once(conversations: Conversations, other_worker: Conversations):
    """When ``keep`` is done, another worker follows the conversation back to its beginning."""
    for number in range(5):
        await conversations.keep(caller(), turn(number))
        found = await other_worker.follow(caller(), f"resp_{number}")
        assert found == [turn(each) for each in range(number + 1)]
    assert await other_worker.find(caller(), "resp_3") == turn(3)
    await conversations.keep(caller(), turn(3, said="[]"))
    assert await other_worker.find(caller(), "resp_3") == turn(3)


async def test_nobody_else_finds_it(conversations: Conversations, database: Database):
    """Another tenant and another key find nothing; an admin of the tenant and a rotated key do."""
    await conversations.keep(caller(), turn(0))
    for other in (caller(tenant_id="default"), caller("key_1", "default", "admin"), caller("key_2")):
        with pytest.raises(PreviousResponseNotFound):
            await conversations.follow(other, "resp_0")
        with pytest.raises(NotFound):
            await conversations.find(other, "resp_0")
        with pytest.raises(NotFound):
            await conversations.delete(other, "resp_0")
    assert await conversations.find(caller("key_9", "acme", "admin"), "resp_0") == turn(0)
    for old, new in (("key_1", "key_1b"), ("key_1b", "key_1c")):
        await execute(
            database,
            "insert into keys (tenant_id, key_id, prefix, secret_hash, name, rights, created_by, replaced_by) "
            "values ('acme', %s, %s, '', 'k', '{call}', 'test', %s)",
            old, old, new,
        )  # fmt: skip
    assert await conversations.find(caller("key_1c"), "resp_0") == turn(0)
    async with database.tenant("default") as connection:
        cursor = await connection.execute("select * from responses")
        assert await cursor.fetchall() == []


async def test_a_deleted_turn_breaks_its_conversation(conversations: Conversations):
    """What went on from a deleted turn cannot be gone on from; the message names what is missing."""
    for number in range(3):
        await conversations.keep(caller(), turn(number))
    await conversations.delete(caller(), "resp_1")
    with pytest.raises(PreviousResponseNotFound, match="resp_1"):
        await conversations.follow(caller(), "resp_2")
    with pytest.raises(NotFound):
        await conversations.delete(caller(), "resp_1")
    assert await conversations.follow(caller(), "resp_0") == [turn(0)]


async def test_a_turn_that_a_provider_keeps_ends_the_way_back(conversations: Conversations):
    """What was before it, its provider knows."""
    await conversations.keep(caller(), turn(0))
    native = turn(1, target="openai/gpt-5", said=None, response=None)
    await conversations.keep(caller(), native)
    assert await conversations.follow(caller(), "resp_1") == [native]


async def test_a_conversation_has_bounds(conversations: Conversations, monkeypatch: pytest.MonkeyPatch):
    """Too many turns or too much text is refused, and not read."""
    for number in range(6):
        await conversations.keep(caller(), turn(number, said='["' + "x" * 1000 + '"]'))
    for name, bound in (("MAX_TURNS", 5), ("MAX_BYTES", 5000)):
        with monkeypatch.context() as patched:
            for module in (keeper_module, store_module):
                patched.setattr(module, name, bound)
            with pytest.raises(InvalidRequest, match="Begin a new one"):
                await conversations.follow(caller(), "resp_5")
            assert len(await conversations.follow(caller(), "resp_2")) == 3


async def test_what_is_gone_on_from_does_not_expire(conversations: Conversations, database: Database):
    """An expired response is not found, but lives on in a conversation that goes on, and is deleted after it."""
    store = conversations._store  # pyright: ignore[reportPrivateUsage]
    for number in range(3):
        await conversations.keep(caller(), turn(number))
    await execute(database, "update responses set expires_at = now() - interval '1 day' where response_id < 'resp_2'")
    with pytest.raises(NotFound):
        await conversations.find(caller(), "resp_1")
    with pytest.raises(PreviousResponseNotFound):
        await conversations.follow(caller(), "resp_1")
    assert await store.expire() == 0
    assert len(await conversations.follow(caller(), "resp_2")) == 3
    await execute(database, "update responses set expires_at = now() - interval '1 day'")
    assert [await store.expire() for _ in range(4)] == [1, 1, 1, 0]


async def test_postgres_away(journal_root: Path, journal: Journal, database: Database, other_worker: Conversations):
    """A turn is not lost while Postgres is away: its worker goes on from it at once, others when it is shipped."""
    alone = Conversations(Database(NOWHERE), journal, SystemClock())
    first, second = turn(0), turn(1)
    for each in (first, second):
        await alone.keep(caller(), each)
    assert await alone.follow(caller(), "resp_1") == [first, second]
    with pytest.raises(StoreUnavailable):
        await alone.follow(caller("key_2"), "resp_1")
    with pytest.raises(StoreUnavailable):
        await alone.delete(caller(), "resp_1")
    shipper = Shipper(journal_root, database, [MERGE_RESPONSES], lambda _: [])
    running = asyncio.create_task(shipper.run())
    assert await shipper.drain(10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await other_worker.follow(caller(), "resp_1") == [first, second]


async def test_what_has_arrived_is_let_go(journal: Journal, database: Database, tenant: str):
    """A turn that waited for the journal is in memory no longer than that: deleted elsewhere, it is gone here."""
    worker = Conversations(database, journal, SystemClock())
    worker._keep_in_journal("acme", turn(0))  # pyright: ignore[reportPrivateUsage]
    assert await worker.find(caller(), "resp_0") == turn(0)
    with pytest.raises(StoreUnavailable, match="in a moment"):
        await worker.delete(caller(), "resp_0")
    await worker.keep(caller(), turn(0))
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.3)
    await execute(database, "delete from responses")
    with pytest.raises(NotFound):
        await worker.find(caller(), "resp_0")
    running.cancel()
