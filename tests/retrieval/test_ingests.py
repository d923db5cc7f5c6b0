"""Tests of ingests: files that are sent in pieces, read by the real child process, and kept by who may be killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import IO, Any, LiteralString

import pytest
from retrieval_house import House

from backstay.core.caller import Caller
from backstay.core.errors import (
    BackstayError,
    Conflict,
    InvalidRequest,
    NotFound,
    Overloaded,
    RequestTooLarge,
    Unauthenticated,
)
from backstay.retrieval import NewDocument
from backstay.retrieval.crawling import Crawling, Crawls
from backstay.retrieval.ingest_store import IngestStore
from backstay.retrieval.ingests import Ingests
from backstay.retrieval.taking_in import TakingIn
from backstay.store import Database

HTML = b"<html><head><title>Shipping</title></head><body><h1>Parcels</h1><p>To Norway in 5 days.</p></body></html>"


async def bytes_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def no_file(tenant_id: str, file_id: str) -> AsyncIterator[bytes]:
    for piece in ():
        yield piece


class Hall:
    """The ingests of a house, and lines of work on them."""

    def __init__(self, house: House, database: Database):
        self.house = house
        self.database = database
        self.store = IngestStore(database)
        self.ingests = Ingests(self.store, house.store, most_bytes=4 * 1024**2)
        self.lines: list[TakingIn] = []
        self.pages: dict[str, bytes | BackstayError] = {}
        self.keys = {house.caller.id: house.caller}

    async def send(
        self, files: dict[str, bytes], *, name: str = "docs", caller: Caller | None = None, **terms: Any
    ) -> str:
        """Begin an ingest of files, and close it."""
        ingest = await self.ingests.begin(caller or self.house.caller, name, **terms)
        for external_id, data in files.items():
            await self.ingests.receive("acme", ingest, external_id, bytes_of(data[:7], data[7:]), told_hash=None)
        await self.ingests.close("acme", ingest)
        return ingest

    def line(self) -> TakingIn:
        """Make a line of work, as a process has it that has just begun."""

        made = TakingIn(
            self.store, self.house.ingest, self.caller_of, self.fetch, no_file, owner="here", wake=lambda: None
        )
        self.lines.append(made)
        return made

    async def caller_of(self, tenant_id: str, key_id: str) -> Caller:
        if key_id not in self.keys:
            raise Unauthenticated("The key is gone.")
        return self.keys[key_id]

    async def fetch(self, url: str, into: IO[bytes]) -> str:
        found = self.pages[url]
        if isinstance(found, BackstayError):
            raise found
        into.write(found)
        return "page.html"

    async def work(self) -> None:
        line = self.line()
        while await line.run_once():
            pass

    async def figures(self, ingest: str) -> dict[str, int]:
        """Return how many items are in which state, without those of which there are none."""
        view = await self.store.view("acme", ingest)
        names = ("writing", "waiting", "running", "added", "changed", "unchanged", "unreadable", "failed", "cancelled")
        return {name: getattr(view, name) for name in names if getattr(view, name)}

    async def count(self, table: str) -> int:
        queries: dict[str, LiteralString] = {
            "pieces": "select count(*) as n from ingest_pieces",
            "documents": "select count(*) as n from retrieval_documents",
            "chunks": "select count(*) as n from retrieval_chunks",
        }
        async with self.database.system() as connection:
            row = await (await connection.execute(queries[table])).fetchone()
        assert row is not None
        return row["n"]


@pytest.fixture
async def hall(house: House, database: Database) -> AsyncIterator[Hall]:
    hall = Hall(house, database)
    yield hall
    for line in hall.lines:
        await line.close()


def notes(count: int) -> dict[str, bytes]:
    return {f"notes/{n:03}.md": f"# Note {n}\n\nNote {n} is of matter {n * 7}.".encode() for n in range(count)}


async def test_files_are_read_kept_and_let_go_of(hall: Hall) -> None:
    """In whatever format; what cannot be read is told, and the others are kept; sent again they cost nothing."""
    files = {
        "ship.html": HTML,
        "a.csv": b"port,depth\nKiel,9\n",
        "bad.pdf": b"no pdf",
        "n.txt": "Grüße".encode("cp1252"),
    }
    ingest = await hall.send(files)
    assert await hall.figures(ingest) == {"waiting": 4}
    await hall.work()
    assert await hall.figures(ingest) == {"added": 3, "unreadable": 1}
    view = await hall.store.view("acme", ingest)
    assert (view.state, view.chunks, view.embedded) == ("done", 3, 3), view
    (bad,) = await hall.ingests.items("acme", ingest, states=["unreadable"], after="", limit=9)
    assert bad.problem is not None and bad.problem.startswith("bad.pdf is not a .pdf file")
    assert await hall.house.found("depth in Kiel", limit=1) == ["a.csv"]
    assert await hall.count("pieces") == 0
    before = hall.house.calls.texts
    again = await hall.send({**files, "n.txt": b"Other words."})
    await hall.work()
    assert await hall.figures(again) == {"changed": 1, "unchanged": 2, "unreadable": 1}
    assert hall.house.calls.texts == before + 1


async def test_who_is_killed_again_and_again_leaves_no_gap_and_no_duplicate(hall: Hall) -> None:
    """Wherever it is cut: each file is kept once, and told of once."""
    ingest = await hall.send(notes(40))
    for cut_after in range(0, 60, 3):
        line = hall.line()
        working = asyncio.create_task(line.run_once())
        for _ in range(cut_after):
            await asyncio.sleep(0.002)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        await hall.store.take_back("here")
        async with hall.database.system() as connection:
            await connection.execute("update ingest_items set tries = 0")  # so many kills are the test's own
    await hall.work()
    assert await hall.figures(ingest) == {"added": 40}
    view = await hall.store.view("acme", ingest)
    assert (view.chunks, await hall.count("documents"), await hall.count("chunks")) == (40, 40, 40)
    assert view.embedded >= 40 - 32  # what was embedded before a cut is not told of, nor written
    assert await hall.house.found("matter 77", mode="lexical", limit=1) == ["notes/011.md"]


async def test_two_ingests_of_one_folder_at_once_keep_each_file_once(hall: Hall) -> None:
    """By two lines of work: whoever comes second finds what it was about to write unchanged."""
    first, second = await hall.send(notes(12)), await hall.send(notes(12))
    await asyncio.gather(hall.work(), hall.work())
    told = [await hall.figures(ingest) for ingest in (first, second)]
    assert sum(each.get("added", 0) for each in told) == 12
    assert sum(each.get("unchanged", 0) for each in told) == 12
    for ingest in (first, second):
        assert (await hall.store.view("acme", ingest)).state == "done"
    assert (await hall.count("documents"), await hall.count("chunks")) == (12, 12)


async def test_a_collection_that_goes_ends_its_ingests(hall: Hall) -> None:
    """They say so; nothing of what was sent stays."""
    ingest = await hall.send(notes(3))
    await hall.house.collections.delete("acme", "docs")
    await hall.work()
    view = await hall.store.view("acme", ingest)
    assert (view.state, view.failed) == ("failed", 3)
    assert view.problem is not None and "The collection docs is gone" in view.problem
    assert await hall.count("pieces") == 0
    with pytest.raises(NotFound):
        await hall.send(notes(1))


async def test_a_model_that_is_away_is_waited_for_and_not_for_ever(hall: Hall) -> None:
    """A file is tried again with growing pauses, and fails in the end with what the model said."""
    ingest = await hall.send(notes(1))
    hall.house.calls.broken.add("embed")
    await hall.work()
    (item,) = await hall.ingests.items("acme", ingest, states=None, after="", limit=1)
    assert (item.state, item.problem, item.tries) == ("waiting", "embed is away.", 1)
    for _ in range(5):
        async with hall.database.system() as connection:
            await connection.execute("update ingest_items set due_at = now()")
        await hall.work()
    assert await hall.figures(ingest) == {"failed": 1}
    hall.house.calls.broken.clear()
    again = await hall.send(notes(1))
    await hall.work()
    assert await hall.figures(again) == {"added": 1}


async def test_a_file_that_ends_whoever_takes_it_is_given_up(hall: Hall) -> None:
    """After as many tries as others have."""
    ingest = await hall.send(notes(1))
    for _ in range(6):
        assert await hall.store.claim("here", limit=9, most_bytes=9)
        await hall.store.take_back("here")
    await hall.work()
    (item,) = await hall.ingests.items("acme", ingest, states=["failed"], after="", limit=1)
    assert item.problem == "It was begun 6 times, and never came to an end."


async def test_what_a_silent_process_was_at_goes_to_others(hall: Hall) -> None:
    """After five minutes without a sign of it."""
    ingest = await hall.send(notes(1))
    assert await hall.store.claim("elsewhere", limit=9, most_bytes=9)
    await hall.store.beat("here")
    await hall.work()
    assert await hall.figures(ingest) == {"running": 1}
    async with hall.database.system() as connection:
        await connection.execute("update ingest_items set seen_at = now() - interval '6 minutes'")
    await hall.store.beat("here")
    await hall.work()
    assert await hall.figures(ingest) == {"added": 1}


async def test_what_is_not_whole_or_not_wanted_is_no_work(hall: Hall) -> None:
    """A file that breaks off, an empty one, one that is too large; one that comes too late; one that is cancelled."""
    ingest = await hall.ingests.begin(hall.house.caller, "docs")

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        raise InvalidRequest("The caller went away.")

    large = bytes_of(*[bytes(1024 * 1024)] * 5)
    for pieces, error in (broken(), InvalidRequest), (bytes_of(), InvalidRequest), (large, RequestTooLarge):
        with pytest.raises(error):
            await hall.ingests.receive("acme", ingest, "x.txt", pieces, told_hash=None)
    assert (await hall.figures(ingest), await hall.count("pieces")) == ({}, 0)
    await hall.ingests.receive("acme", ingest, "y.txt", bytes_of(b"y"), told_hash=None)
    await hall.ingests.receive("acme", ingest, "y.txt", bytes_of(b"z"), told_hash=None)
    crowded = Ingests(IngestStore(hall.database, most_waiting_bytes=0), hall.house.store)
    with pytest.raises(Overloaded, match="wait to be read"):
        await crowded.receive("acme", ingest, "more.txt", bytes_of(b"more"), told_hash=None)
    await hall.ingests.close("acme", ingest, cancel=True)
    assert (await hall.figures(ingest), await hall.count("pieces")) == ({"cancelled": 1}, 0)
    assert (await hall.store.view("acme", ingest)).state == "cancelled"
    await hall.work()
    assert await hall.count("documents") == 0
    with pytest.raises(Conflict, match="takes nothing more in"):
        await hall.ingests.receive("acme", ingest, "z.txt", bytes_of(b"z"), told_hash=None)
    with pytest.raises(NotFound):
        await hall.ingests.receive("other", ingest, "z.txt", bytes_of(b"z"), told_hash=None)


async def test_addresses_are_fetched_and_fetched_again_for_what_changed(hall: Hall) -> None:
    """What is refused is unreadable, what fails is tried again, what is as it was is unchanged."""
    hall.pages = {
        "https://a.example/ship": HTML,
        "https://b.example/x": InvalidRequest("https://b.example/x: its certificate is not trusted."),
    }
    urls = list(hall.pages)
    for state in ("added", "unchanged", "changed"):
        ingest = await hall.ingests.begin(hall.house.caller, "docs", urls=urls, principals=["group:hr"])
        await hall.ingests.close("acme", ingest)
        await hall.work()
        assert await hall.figures(ingest) == {state: 1, "unreadable": 1}
        if state == "unchanged":
            hall.pages[urls[0]] = HTML.replace(b"5 days", b"9 days")
    assert await hall.house.found("Norway", principals=["group:hr"]) == ["https://a.example/ship"]
    assert await hall.house.found("Norway") == []
    hall.pages[urls[0]] = NotFound("It is not there.")
    await hall.ingests.close("acme", await hall.ingests.begin(hall.house.caller, "docs", urls=urls[:1]))
    await hall.work()
    assert await hall.count("documents") == 0


SITEMAP = (
    "<urlset><url><loc>https://a.example/{}</loc></url><url><loc> https://a.example/b?x=1&amp;y=2 </loc></url></urlset>"
)


async def test_a_crawl_follows_its_sitemap(hall: Hall) -> None:
    """Each time that it is due: what is new, what changed, and what the sitemap names no more; what fails is told."""
    index = b"<sitemapindex><sitemap><loc>https://a.example/pages.xml</loc></sitemap></sitemapindex>"
    hall.pages = {
        "https://a.example/map.xml": index,
        "https://a.example/pages.xml": SITEMAP.format("a").encode(),
        "https://a.example/a": HTML,
        "https://a.example/b?x=1&y=2": HTML.replace(b"Norway", b"Sweden"),
        "https://a.example/c": HTML.replace(b"Norway", b"Iceland"),
    }
    crawls = Crawls(hall.database, hall.house.store)
    crawling = Crawling(crawls, hall.ingests, hall.caller_of, hall.fetch, wake=lambda: None)
    terms: dict[str, Any] = {"is_sitemap": True, "every_s": 3600, "principals": None}
    crawl = await crawls.add(hall.house.caller, "docs", "https://a.example/map.xml", **terms)
    with pytest.raises(Conflict, match="already"):
        await crawls.add(hall.house.caller, "docs", "https://a.example/map.xml", **terms)
    await hall.house.put(NewDocument(external_id="other", text="Of Denmark."))

    async def crawl_now() -> list[str]:
        async with hall.database.system() as connection:
            await connection.execute("update retrieval_crawls set due_at = now()")
        assert await crawling.run_once()
        assert not await crawling.run_once()
        await hall.work()
        return sorted(await hall.house.store.known(await hall.house.store.find("acme", "docs")))

    both = ["https://a.example/a", "https://a.example/b?x=1&y=2", "other"]
    assert await crawl_now() == both
    hall.pages["https://a.example/pages.xml"] = SITEMAP.format("c").encode()
    assert await crawl_now() == ["https://a.example/b?x=1&y=2", "https://a.example/c", "other"]
    hall.pages["https://a.example/map.xml"] = b"<html>Nothing here.</html>"
    assert await crawl_now() == ["https://a.example/b?x=1&y=2", "https://a.example/c", "other"]
    (shown,) = await crawls.all("acme", "docs")
    assert shown.problem is not None and "is no sitemap" in shown.problem and shown.last_ingest is not None
    with pytest.raises(NotFound):
        await crawls.remove("other", "docs", crawl)
    await crawls.remove("acme", "docs", crawl)
    assert not await crawling.run_once()


async def test_the_same_file_for_other_readers_is_a_change(hall: Hall) -> None:
    """Its bytes alone are not what it is known by: nobody who lost the right to read it finds it."""
    readers: tuple[list[str] | None, ...] = (None, ["staff"], ["staff", "press"])
    for who, ends in zip(readers, ("added", "changed", "changed"), strict=True):
        ingest = await hall.send({"ship.html": HTML}, principals=who, metadata={"of": "parcels"})
        await hall.work()
        assert await hall.figures(ingest) == {ends: 1}
        for asks in ((), ("staff",), ("press",)):
            found = await hall.house.found("Norway", principals=asks)
            assert bool(found) == (who is None or bool(set(who) & set(asks)))
    for metadata, ends in (({"of": "parcels"}, "unchanged"), ({"of": "letters"}, "changed")):
        ingest = await hall.send({"ship.html": HTML}, principals=["press", "staff"], metadata=metadata)
        await hall.work()
        assert await hall.figures(ingest) == {ends: 1}


async def test_a_key_that_is_gone_takes_nothing_in(hall: Hall) -> None:
    """Its calls would be nobody's."""
    ingest = await hall.send(notes(2))
    hall.keys.clear()
    await hall.work()
    assert await hall.figures(ingest) == {"failed": 2}


async def test_ingests_are_served_in_turn_and_small_files_together(hall: Hall) -> None:
    """One with many files holds up no other for long."""
    many, few = await hall.send(notes(40)), await hall.send({"few.txt": b"Few."})
    line = hall.line()
    assert await line.run_once() and await line.run_once()
    assert await hall.figures(many) == {"added": 32, "waiting": 8}
    assert await hall.figures(few) == {"added": 1}
    assert len(await hall.ingests.all("acme", "docs")) == 2


async def test_a_document_that_was_sent_whole_is_as_one_that_was_read(hall: Hall) -> None:
    """Both ways lead to the same collection."""
    await hall.house.put(NewDocument(external_id="a.md", text="# A"))
    ingest = await hall.send({"a.md": b"# A thing"})
    await hall.work()
    assert await hall.figures(ingest) == {"changed": 1}
    assert (await hall.ingests.show("acme", ingest))[1] is False
