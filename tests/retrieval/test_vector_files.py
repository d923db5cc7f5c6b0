"""Files of vector stores in a real Postgres: read by ingests of their own, left out where not wanted any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import IO

import pytest
from retrieval_house import House

from backstay.core.caller import Caller
from backstay.core.errors import NotFound
from backstay.retrieval import NewDocument
from backstay.retrieval.conversation import earlier_questions
from backstay.retrieval.filters import read_filter
from backstay.retrieval.ingest_store import IngestStore
from backstay.retrieval.taking_in import TakingIn
from backstay.retrieval.types import Turn
from backstay.retrieval.vector_stores import NewFile, VectorStores
from backstay.store import Database

BERN = b"The bears of Bern live by the river."


def a_file(file_id: str, **more: int) -> NewFile:
    return NewFile(
        file_id=file_id, filename=f"{file_id}.txt", size_bytes=len(BERN), attributes={"n": 1, **more}, principals=None
    )  # fmt: skip


class Shop:
    """Vector stores of a house, and the line of work that reads their files."""

    def __init__(self, house: House, database: Database):
        self.house = house
        self.stores = VectorStores(database)
        self.ingests = IngestStore(database)
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.gone: set[str] = set()
        self.line = TakingIn(
            self.ingests, house.ingest, self._caller_of, self._fetch, self._read, owner="here", wake=lambda: None
        )  # fmt: skip

    async def put(self, *files: NewFile, batch_id: str | None = None) -> None:
        await self.stores.add(self.house.caller, "docs", files, batch_id)

    async def work(self) -> None:
        while await self.line.run_once():
            pass

    async def statuses(self) -> dict[str, str]:
        files = await self.stores.files(self.house.caller, "docs", limit=10, order="asc")
        return {each.id: each.status for each in files}

    async def during(self, act: Callable[[], object]) -> None:
        """Do something once the first file is being read, before anything of it is written."""
        self.go_on.clear()
        working = asyncio.create_task(self.work())
        await self.begun.wait()
        done = act()
        assert asyncio.iscoroutine(done)
        await done
        self.go_on.set()
        await working

    async def _caller_of(self, tenant_id: str, key_id: str) -> Caller:
        assert (tenant_id, key_id) == (self.house.caller.tenant_id, self.house.caller.id)
        return self.house.caller

    async def _fetch(self, url: str, into: IO[bytes]) -> str:
        raise NotFound(url)

    async def _read(self, tenant_id: str, file_id: str) -> AsyncIterator[bytes]:
        self.begun.set()
        await self.go_on.wait()
        if file_id not in self.gone:
            yield BERN[:9]
            yield BERN[9:]


@pytest.fixture
async def shop(house: House, database: Database) -> AsyncIterator[Shop]:
    shop = Shop(house, database)
    yield shop
    await shop.line.close()


async def test_what_a_killed_process_was_at_is_read_by_the_next(shop: Shop) -> None:
    """Not while it may be alive; each file is there once."""
    await shop.put(a_file("one"), a_file("two"))
    assert len(await shop.ingests.claim("here", limit=9, most_bytes=1000)) == 2
    await shop.work()
    assert await shop.statuses() == {"one": "in_progress", "two": "in_progress"}
    await shop.ingests.take_back("here")
    await shop.work()
    assert await shop.statuses() == {"one": "completed", "two": "completed"}
    assert sorted(await shop.house.found("bears")) == ["one", "two"]
    await shop.put(a_file("one"), a_file("two", m=2))
    texts = shop.house.calls.texts
    await shop.work()
    assert await shop.statuses() == {"one": "completed", "two": "completed"}
    assert shop.house.calls.texts == texts
    (two,) = await shop.house.found("bears", filter=read_filter({"m": 2}))
    assert two == "two"


async def test_a_file_that_is_cancelled_while_it_is_read_is_not_there(shop: Shop) -> None:
    """Nothing of it is found, nor of those of its batch that were not begun; others that are read with it are."""
    await shop.put(a_file("one"), a_file("two"), batch_id="batch")
    await shop.during(lambda: shop.stores.cancel(shop.house.caller, "docs", "batch"))
    assert await shop.statuses() == {"one": "cancelled", "two": "cancelled"}
    batch = await shop.stores.batch(shop.house.caller, "docs", "batch")
    assert (batch.cancelled, batch.completed, batch.in_progress) == (2, 0, 0)
    assert await shop.house.found("bears") == []


async def test_a_file_that_is_taken_out_while_it_is_read_does_not_come_back(shop: Shop) -> None:
    """And one that is put there again meanwhile is as it was put there last."""
    await shop.put(a_file("out"), a_file("again"), a_file("stays"))

    async def change() -> None:
        await shop.stores.drop_file(shop.house.caller, "docs", "out")
        await shop.put(a_file("again", m=5))

    await shop.during(change)
    assert await shop.statuses() == {"stays": "completed", "again": "completed"}
    assert sorted(await shop.house.found("bears")) == ["again", "stays"]
    assert await shop.house.found("bears", filter=read_filter({"m": 5})) == ["again"]


async def test_a_file_that_is_gone_fails_and_a_model_that_is_away_is_waited_for(
    shop: Shop, database: Database
) -> None:  # fmt: skip
    """The others of the store are read all the same; what never can be is told with a code of OpenAI's."""
    shop.gone.add("gone")
    await shop.put(a_file("gone"), a_file("there"))
    await shop.work()
    gone, there = [await shop.stores.file(shop.house.caller, "docs", each) for each in ("gone", "there")]
    assert (gone.status, gone.error_code, there.status) == ("failed", "invalid_file", "completed")
    assert gone.error == "The file gone.txt (gone) is gone. Upload it again."
    shop.house.calls.broken.add("embed")
    await shop.put(NewFile(file_id="page", filename="p.md", size_bytes=len(BERN), attributes={}, principals=None))
    for _ in range(6):
        await shop.work()
        async with database.system() as sql:
            await sql.execute("update ingest_items set due_at = now()")
    page = await shop.stores.file(shop.house.caller, "docs", "page")
    assert (page.status, page.error_code, page.error) == ("failed", "server_error", "embed is away.")


async def test_a_question_that_refers_to_the_one_before_finds_what_both_are_about(house: House) -> None:
    """Its own words still count most."""
    await house.put(
        NewDocument(external_id="bern", text="Bern is a city with bears. Its trams close at midnight."),
        NewDocument(external_id="milan", text="Milan is a city with a cathedral. Its trams close at one."),
    )
    earlier = earlier_questions([Turn(role="user", content="Where is the cathedral?")])
    assert (await house.found("When do the trams close?", earlier=earlier))[0] == "milan"
    earlier = earlier_questions([Turn(role="user", content="Which city has bears?")])
    assert (await house.found("When do the trams close?", earlier=earlier))[0] == "bern"
    assert (await house.found("Which city has a cathedral?", earlier=earlier))[0] == "milan"
