"""Tests of chunks that models are asked for, and of what is read in a chunk's place, in a real Postgres."""

import pytest
from retrieval_house import House

from backstay.core.errors import ProviderUnreachable
from backstay.retrieval import NewDocument, Query, Settings
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.answering import _packed  # pyright: ignore[reportPrivateUsage]
from backstay.retrieval.support import Verifier
from backstay.retrieval.types import Chunking, Found

BOATS = "The boats lie in the harbour. The harbour master counts the boats every morning. He writes each boat down. "
COOKS = "The soup needs two onions. Fry the onions in butter first. Then add water and a little salt to the soup. "
LAW = "The court heard both sides in May. Its judges found for the tenant. The landlord may appeal within a month. "
MIXED = NewDocument(external_id="mixed", text=(BOATS * 2 + COOKS * 2 + LAW * 2).strip())


async def _made(house: House, chunking: Chunking, *documents: NewDocument) -> None:
    await house.collections.create("acme", "cut", Settings(language="en", chunking=chunking))
    await house.put(*documents, name="cut")


async def _spans(house: House, external_id: str) -> list[tuple[int, int]]:
    part = await house.collections.part("acme", "cut", external_id, start=0, length=100_000)
    return [(start, end) for start, end in part.chunks]


async def test_a_text_is_cut_where_its_subject_changes(house: House) -> None:
    """Where the bound would allow a chunk of two subjects; no model but the embedding model is asked."""
    await _made(house, Chunking(strategy="semantic", max_chars=350), MIXED)
    cuts = [start for start, _ in await _spans(house, "mixed")]
    assert MIXED.text.index("The soup") in cuts and MIXED.text.index("The court") in cuts


async def test_a_change_asks_for_the_sentences_around_it_alone(house: House) -> None:
    """How alike the others are is remembered with their chunks, and forgotten with them."""
    await _made(house, Chunking(strategy="semantic", max_chars=350), MIXED)
    before = house.calls.texts
    changed = NewDocument(external_id="mixed", text=MIXED.text.replace("a little salt", "much salt", 1))
    await house.put(changed, name="cut")
    asked = house.calls.texts - before
    assert 0 < asked <= 5
    assert await house.collections.remove("acme", "cut", ["mixed"]) == 1
    assert await house.store.memos(await house.store.find("acme", "cut"), ["mixed"]) == {}


async def test_nothing_is_written_where_the_sentences_cannot_be_compared(house: House) -> None:
    house.calls.broken.add("embed")
    with pytest.raises(ProviderUnreachable):
        await _made(house, Chunking(strategy="semantic", max_chars=350), MIXED)
    assert await house.collections.documents("acme", "cut") == []


async def test_the_parent_of_a_small_chunk_is_read(house: House) -> None:
    """A hit shows its parent; the answer is written from it, each once, and cites the exact place and page."""
    text = BOATS * 3 + COOKS * 3 + LAW * 3
    document = NewDocument(external_id="mixed", text=text, page_starts=(0, 250, 600))
    await _made(house, Chunking(max_chars=120, parent_chars=900), document)
    query = Query(text="Fry the onions in butter", mode="lexical", limit=6)
    found = await house.search.find(house.caller, "cut", query)
    assert all(each.parent and text[each.parent.start : each.parent.end] == each.parent.text for each in found)
    assert all(each.parent and each.parent.start <= each.start and each.end <= each.parent.end for each in found)
    read = _packed(found)
    assert 0 < len(read) < len(found) and all(len(each.text) > 120 for each in read)
    (first, *_) = Verifier(Analyzer("en"), read).citations("The landlord may appeal within a month.")
    assert first.quote == text[first.start : first.end] == "The landlord may appeal within a month."
    assert first.page == (1 if first.start < 250 else 2 if first.start < 600 else 3)


async def test_a_parent_is_not_shown_to_who_may_not_read_it(house: House) -> None:
    """It is of the same document, under the same rights."""
    secret = NewDocument(external_id="secret", text=BOATS * 6, principals=("group:hr",))
    await _made(house, Chunking(max_chars=120, parent_chars=600), secret)
    assert await house.found("boats in the harbour", name="cut") == []
    assert await house.found("boats in the harbour", name="cut", principals=("group:hr",)) == ["secret"]


async def test_rows_are_found_by_the_names_of_their_columns(house: House) -> None:
    """A row says by itself nothing of which year or what; its head is indexed with it, and shown beside it."""
    rows = "".join(f"| {name} | {number} |\n" for number, name in enumerate(("Kiel", "Oslo", "Riga", "Turku") * 5))
    text = f"Fees.\n\n| harbour | mooring charge |\n|---|---|\n{rows}"
    await _made(house, Chunking(max_chars=100), NewDocument(external_id="fees", text=text))
    query = Query(text="mooring charge Turku 19", mode="lexical", limit=1)
    (first,) = await house.search.find(house.caller, "cut", query)
    assert "19" in first.text and "mooring" not in first.text
    assert first.table_head == "| harbour | mooring charge |\n|---|---|"
    assert first.text == text[first.start : first.end]


async def test_a_migration_changes_the_way_of_cutting(house: House) -> None:
    """The new generation's chunks are the new way's; the old one's are as they were when it is switched back."""
    await _made(house, Chunking(max_chars=100), MIXED)
    before = await _spans(house, "mixed")
    chunking = Chunking(strategy="semantic", max_chars=350, parent_chars=700)
    await house.migrations.start(house.caller, "cut", chunking=chunking, embedding_model=None)
    await house.build()
    await house.migrations.switch("acme", "cut", back=False)
    after = await _spans(house, "mixed")
    assert MIXED.text.index("The court") in [start for start, _ in after] and len(after) < len(before)
    await house.migrations.switch("acme", "cut", back=True)
    assert await _spans(house, "mixed") == before


def test_what_is_read_of_a_result_begins_on_its_own_page() -> None:
    """A parent may begin pages before the chunk that was found."""
    from backstay.retrieval.types import Parent

    parent = Parent(text="x" * 100, start=0, end=100)
    found = Found(
        external_id="a", chunk_id="1", text="x" * 10, score=1.0, relevance=None, start=80, end=90, page=3,
        parent=parent, page_starts=(30, 60),
    )  # fmt: skip
    (read,) = _packed([found])
    assert (read.page, read.start, read.text) == (1, 0, parent.text)
