"""Tests of changing a collection's model and chunking while it is searched and written to."""

import asyncio
from collections.abc import Sequence

import pytest
from retrieval_house import House

from backstay.core.errors import Conflict, InvalidRequest, NotFound, ProviderUnreachable
from backstay.retrieval import NewDocument, Query
from backstay.retrieval.comparing import Asked
from backstay.retrieval.types import Chunking
from backstay.store import Database

SUBJECTS = ("harbours", "violins", "glaciers", "taxes", "beehives", "comets", "bridges", "vineyards")


def about(number: int, subject: str) -> NewDocument:
    text = f"Report {number} is about {subject}. " + " ".join(f"{subject} matter in case {n}." for n in range(3))
    return NewDocument(external_id=f"{subject}-{number}", text=text)


LIBRARY = [about(number, subject) for number in range(12) for subject in SUBJECTS]


async def counted(database: Database, generation: int) -> tuple[int, int]:
    """Count the documents that a generation has chunks of, and its chunks."""
    async with database.system() as connection:
        cursor = await connection.execute(
            "select count(distinct document_id) as documents, count(*) as chunks from retrieval_chunks "
            "where generation = %s",
            [generation],
        )
        row = await cursor.fetchone()
    assert row is not None
    return row["documents"], row["chunks"]


async def test_a_migration_under_load_loses_no_query_and_can_be_undone(house: House, database: Database) -> None:
    """Searches go on all the while and find what they look for; documents that are written, changed and deleted
    meanwhile are so in both generations; who builds may be killed; the switch is seen by the next search."""
    await house.put(*LIBRARY)
    asked, over = 0, asyncio.Event()

    async def look() -> None:
        nonlocal asked
        while not over.is_set():
            for mode in ("hybrid", "dense", "lexical"):
                found = await house.found("a report about glaciers", mode=mode, limit=5)
                assert len(found) == 5 and all(each.startswith("glaciers") for each in found)
                asked += 1

    looking = asyncio.create_task(look())
    try:
        migration = await house.migrations.start(
            house.caller, "docs", chunking=Chunking(max_chars=200), embedding_model="short"
        )
        assert migration.other is not None
        old, new = migration.live.generation, migration.other.generation
        with pytest.raises(Conflict, match="does not have all documents yet"):
            await house.migrations.switch("acme", "docs", back=False)
        await build_until_killed(house)
        await house.put(about(99, "lighthouses"), NewDocument(external_id="taxes-3", text="Now of tariffs."))
        await house.collections.remove("acme", "docs", ["taxes-1", "comets-11"])
        shown = await house.migrations.show("acme", "docs")
        assert shown.other is not None and 0 < shown.other.done < shown.other.documents == len(LIBRARY) - 1
        await house.build()
        assert (await counted(database, new))[0] == (await counted(database, old))[0] == len(LIBRARY) - 1
        for generation, back in ((new, False), (old, True), (new, True)):
            switched = await house.migrations.switch("acme", "docs", back=back)
            assert switched.live.generation == generation
            assert await house.found("lighthouses", limit=1) == ["lighthouses-99"]
            assert "taxes-1" not in await house.found("Report 1 is about taxes", limit=50)
            await house.put(NewDocument(external_id="last", text=f"Written after the switch to {generation}."))
            assert await house.found(f"Written after the switch to {generation}", limit=1) == ["last"]
        await house.migrations.drop("acme", "docs")
        assert await counted(database, old) == (0, 0)
    finally:
        over.set()
        await looking
    assert asked >= 20


async def build_until_killed(house: House) -> None:
    """Build, and cut it in the middle: after a round, while the next one waits for its vectors."""
    assert await house.builder().run_once()
    cut = asyncio.create_task(house.builder().run_once())
    house.calls.made.clear()
    await house.calls.made.wait()
    cut.cancel()
    await asyncio.wait([cut])


async def test_what_is_the_same_in_both_is_not_embedded_again(house: House) -> None:
    """A new chunking with the same model finds the vectors of chunks whose text did not change."""
    await house.put(NewDocument(external_id="a", text="One short text."))
    before = house.calls.texts
    await house.migrations.start(house.caller, "docs", chunking=Chunking(max_chars=300), embedding_model=None)
    await house.build()
    assert house.calls.texts == before
    switched = await house.migrations.switch("acme", "docs", back=False)
    assert switched.live.chunking.max_chars == 300
    assert await house.found("short") == ["a"]


async def test_a_model_that_fails_holds_up_no_ingest(house: House, database: Database) -> None:
    """The live generation is written; the other one cannot be switched to until it has what it lacks."""
    await house.put(*LIBRARY[:8])
    await house.migrations.start(house.caller, "docs", chunking=None, embedding_model="short")
    await house.build()
    house.calls.broken.add("short")
    assert (await house.put(about(1000, "volcanoes"))).added == 1
    assert await house.found("volcanoes", limit=1) == ["volcanoes-1000"]
    with pytest.raises(Conflict, match="does not have all"):
        await house.migrations.switch("acme", "docs", back=False)
    await house.build()
    shown = await house.migrations.show("acme", "docs")
    assert shown.other is not None and shown.other.problem == "short is away." and not shown.other.is_complete
    house.calls.broken.clear()
    async with database.system() as connection:
        await connection.execute("update retrieval_generations set due_at = now()")
    await house.build()
    switched = await house.migrations.switch("acme", "docs", back=False)
    assert (switched.live.embedding_model, switched.live.documents) == ("short", 9)
    assert await house.found("volcanoes", mode="dense", limit=1) == ["volcanoes-1000"]


async def test_two_generations_are_compared_by_what_was_asked_and_by_labels(house: House) -> None:
    """The queries asked last are asked again of both, as who asked them; labels give nDCG for each."""
    await house.put(*LIBRARY[:16], NewDocument(external_id="secret", text="Of moles.", principals=("user:ada",)))
    await house.found("who writes about comets?")
    await house.found("moles", principals=["user:ada"])
    with pytest.raises(Conflict, match="one generation alone"):
        await house.comparing.compare(house.caller, "docs")
    await house.recent.write()
    await house.migrations.start(house.caller, "docs", chunking=Chunking(max_chars=2000), embedding_model="short")
    await house.build()
    told = await house.comparing.compare(house.caller, "docs")
    assert (told.queries, told.live) == (2, {}) and told.overlap is not None and told.overlap > 0.5
    recent = await house.generations.recent_queries("acme", "docs", 10)
    assert {each.text: list(each.principals) for each in recent} == {
        "who writes about comets?": [],
        "moles": ["user:ada"],
    }
    assert await house.generations.recent_queries("other", "docs", 10) == []
    for number in range(201):
        house.recent.hear(await house.store.find("acme", "docs"), Query(text=f"again {number}"))
    await house.recent.write()
    await house.recent.write()
    assert len(await house.generations.recent_queries("acme", "docs", 1000)) == 200
    labelled = [Asked(query=Query(text="comets"), relevant={"comets-0": 1.0, "comets-1": 1.0})]
    told = await house.comparing.compare(house.caller, "docs", labelled)
    assert told.live["ndcg@10"] == told.other["ndcg@10"] == 1.0


async def test_what_cannot_be_migrated_is_refused(house: House) -> None:
    """Nothing to change, a model that is not there, a second one at once, nothing to switch to or to drop."""

    async def start(model: str | None, chunking: Chunking | None = None) -> None:
        await house.migrations.start(house.caller, "docs", chunking=chunking, embedding_model=model)

    with pytest.raises(InvalidRequest, match="already"):
        await start("embed")
    with pytest.raises(InvalidRequest, match="half"):
        await start(None, Chunking(max_chars=100, overlap_chars=80))
    house.calls.broken.add("gone")
    with pytest.raises(ProviderUnreachable):
        await start("gone")
    for back in (False, True):
        with pytest.raises(Conflict):
            await house.migrations.switch("acme", "docs", back=back)
    with pytest.raises(NotFound):
        await house.migrations.drop("acme", "docs")
    await start("short")
    with pytest.raises(Conflict, match="already"):
        await start("short", Chunking(max_chars=500))
    await house.migrations.drop("acme", "docs")
    await start("short", Chunking(max_chars=500))
    await house.build()
    assert (await house.migrations.switch("acme", "docs", back=False)).live.embedding_model == "short"


async def test_an_ingest_that_a_generation_comes_in_the_way_of_is_in_both(house: House, database: Database) -> None:
    """Chunks that were made for other generations than there are when they are written are made anew."""
    await house.put(*LIBRARY[:4])
    started = False

    class Late(type(house.store)):
        async def put(self, *arguments: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            nonlocal started
            if not started:
                started = True
                await house.migrations.start(house.caller, "docs", chunking=None, embedding_model="short")
            await super().put(*arguments)  # pyright: ignore[reportArgumentType]

    ingest = type(house.ingest)(Late(database), house.ingest._embeddings, house.calls)  # pyright: ignore[reportPrivateUsage]
    assert (await ingest.put(house.caller, "docs", [about(7, "canals")])).added == 1
    await house.build()
    generations: Sequence[int] = [each.generation for each in await house.store.generations("acme", "docs")]
    assert len(generations) == 2
    assert [(await counted(database, each))[0] for each in generations] == [5, 5]
