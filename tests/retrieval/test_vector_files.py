"""Files of vector stores in a real Postgres: read in the background, taken up again, left out when cancelled."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from retrieval_house import House

from backstay.core.caller import Caller
from backstay.core.errors import NotFound, StoreUnavailable
from backstay.retrieval import NewDocument
from backstay.retrieval.conversation import earlier_questions
from backstay.retrieval.types import Turn
from backstay.retrieval.vector_files import VectorFiles
from backstay.retrieval.vector_stores import NewFile, VectorStores
from backstay.store import Database

BERN = b"The bears of Bern live by the river."


def a_file(file_id: str) -> NewFile:
    return NewFile(file_id=file_id, filename=f"{file_id}.txt", size_bytes=36, attributes={"n": 1}, principals=None)


async def bern(caller: Caller, file_id: str) -> bytes:
    return BERN


@asynccontextmanager
async def reading(
    house: House, database: Database, fetch: Callable[[Caller, str], Awaitable[bytes]] = bern
) -> AsyncGenerator[tuple[VectorStores, VectorFiles]]:
    """A worker that reads files."""
    stores = VectorStores(database)
    files = VectorFiles(stores, house.collections, house.ingest, fetch)
    try:
        yield stores, files
    finally:
        await files.close()


async def ended(stores: VectorStores, house: House) -> list[str]:
    """Return how each file ended."""
    return [each.status for each in await stores.files(house.caller, "docs", limit=10, order="asc")]


async def test_what_a_dead_worker_was_at_is_taken_up(house: House, database: Database) -> None:
    """Not while it may be alive: a file is worked on by one worker alone."""
    async with reading(house, database) as (stores, files):
        await stores.add(house.caller, "docs", [a_file("one")], None)
        assert (await stores.take(house.caller, "docs")) is not None
        assert (await stores.take(house.caller, "docs")) is None
        assert (await stores.file(house.caller, "docs", "one")).is_worked_on
        async with database.system() as sql:
            await sql.execute("update retrieval_vector_files set touched_at = now() - interval '11 minutes'")
        files.read_on(house.caller, "docs")
        await files.idle()
        assert await ended(stores, house) == ["completed"]
    assert await house.found("bears") == ["one"]


async def test_a_file_that_is_cancelled_while_it_is_read_is_not_there(house: House, database: Database) -> None:
    """Nothing of it is found, nor of those of its batch that were not begun."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(caller: Caller, file_id: str) -> bytes:
        begun.set()
        await go_on.wait()
        return BERN

    async with reading(house, database, slowly) as (stores, files):
        await stores.add(house.caller, "docs", [a_file("one"), a_file("two")], "batch")
        files.read_on(house.caller, "docs")
        await begun.wait()
        await stores.cancel(house.caller, "docs", "batch")
        go_on.set()
        assert await ended(stores, house) == ["cancelled", "cancelled"]
        batch = await stores.batch(house.caller, "docs", "batch")
        assert (batch.cancelled, batch.completed) == (2, 0)
        await files.idle()
    assert await house.found("bears") == []


async def test_a_file_that_is_gone_fails_and_one_that_waits_for_postgres_is_read_later(
    house: House, database: Database
) -> None:
    """The others of the store are read all the same."""
    away = True

    async def fetch(caller: Caller, file_id: str) -> bytes:
        if file_id == "a-gone":
            raise NotFound("There is no file 'a-gone'.")
        if file_id == "c-late" and away:
            raise StoreUnavailable
        return BERN

    async with reading(house, database, fetch) as (stores, files):
        await stores.add(house.caller, "docs", [a_file("a-gone"), a_file("b-there"), a_file("c-late")], None)
        files.read_on(house.caller, "docs")
        await files.idle()
        gone, there = [await stores.file(house.caller, "docs", each) for each in ("a-gone", "b-there")]
        assert (gone.status, gone.error_code, there.status) == ("failed", "invalid_file", "completed")
        away = False
        files.read_on(house.caller, "docs")
        await files.idle()
        assert await ended(stores, house) == ["failed", "completed", "completed"]


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
