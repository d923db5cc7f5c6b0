"""Tests of documents that are kept and searched in a real Postgres, with the real local embedding model."""

import json
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from retrieval_house import House

from backstay.core.errors import Conflict, InvalidRequest, NotFound
from backstay.retrieval import NewDocument, Query, Settings
from backstay.retrieval.fields import Fields
from backstay.retrieval.filters import read_filter, to_jsonpath
from backstay.retrieval.types import Found, Mode
from backstay.store import Database

MODES: tuple[Mode, ...] = ("hybrid", "dense", "lexical")

REFUNDS = NewDocument(
    external_id="refunds.md", title="Refunds", text="Money is paid back within 14 days of the return."
)
OFFICE = NewDocument(external_id="office.txt", text="The office in Berlin opens at 9:30 and closes at 18:00.")
SALARIES = NewDocument(
    external_id="salaries.txt", text="Salaries are paid on the last day of the month.", principals=("group:hr",)
)


@pytest.mark.parametrize("mode", MODES)
async def test_what_fits_best_comes_first(house: House, mode: Mode) -> None:
    """In every mode; a result says where in its document its text is."""
    await house.put(REFUNDS, OFFICE)
    (first, *_) = await house.search.find(house.caller, "docs", Query(text="When does the office open?", mode=mode))
    assert (first.external_id, first.text) == ("office.txt", OFFICE.text[first.start : first.end])


async def test_what_is_unchanged_costs_nothing_and_what_changed_only_its_new_chunks(house: House) -> None:
    """An equal text is embedded once, however often it comes, and in however many documents."""
    long = NewDocument(
        external_id="long", text="\n\n".join(f"Paragraph {n} is about {n} things of note." for n in range(20))
    )
    first = await house.put(long)
    assert (first.added, first.embedded) == (1, first.chunks)
    assert (await house.put(long)).unchanged == 1
    changed = NewDocument(external_id="long", text=long.text.replace("Paragraph 7 is", "Paragraph 7 was"))
    again = await house.put(changed, NewDocument(external_id="copy", text=long.text))
    assert (again.added, again.changed, again.embedded) == (1, 1, 1)
    assert house.calls.texts == first.chunks + 1


@pytest.mark.parametrize("mode", MODES)
async def test_changes_and_deletes_are_seen_by_the_next_search(house: House, mode: Mode) -> None:
    """No index answers from an older state."""
    await house.put(REFUNDS, OFFICE)
    assert await house.found("office in Berlin", mode=mode, limit=1) == ["office.txt"]
    await house.put(NewDocument(external_id="office.txt", text="The branch in Oslo has no fixed hours at all."))
    (first, *_) = await house.search.find(house.caller, "docs", Query(text="branch in Oslo", mode=mode, limit=1))
    assert first.text == "The branch in Oslo has no fixed hours at all."
    assert await house.collections.remove("acme", "docs", ["office.txt"]) == 1
    assert "office.txt" not in await house.found("branch in Oslo", mode=mode)
    assert await house.collections.prune("acme", "docs", []) == 1
    assert await house.found("refunds", mode=mode) == []


@pytest.mark.parametrize("mode", MODES)
async def test_what_may_not_be_read_is_not_found(house: House, mode: Mode) -> None:
    """Without principals only public documents are there; whose principals change is shown or hidden at once."""
    await house.put(REFUNDS, SALARIES)
    assert await house.found("when are salaries paid", mode=mode) == ["refunds.md"]
    assert "salaries.txt" in await house.found("when are salaries paid", mode=mode, principals=["group:hr", "user:ada"])
    assert await house.found("when are salaries paid", mode=mode, principals=["group:hr2"]) == ["refunds.md"]
    await house.put(NewDocument(external_id="salaries.txt", text=SALARIES.text, principals=("user:bob",)))
    assert await house.found("when are salaries paid", mode=mode, principals=["group:hr"]) == ["refunds.md"]
    assert "salaries.txt" in await house.found("when are salaries paid", mode=mode, principals=["user:bob"])


@pytest.mark.parametrize("mode", MODES)
async def test_hidden_documents_change_no_result_and_no_score(house: House, mode: Mode) -> None:
    """Who may not read them gets, number for number, what they would if these were not there."""
    public = [
        NewDocument(external_id=f"p{n}", text=f"Note {n} on refunds, offices and the {n}th parcel.") for n in range(8)
    ]
    await house.put(*public)
    query = Query(text="refunds for parcel 3", mode=mode, limit=20)
    before = await house.search.find(house.caller, "docs", query)
    hidden = [
        NewDocument(external_id=f"h{n}", text=f"Refunds refunds parcel 3, secret {n}.", principals=("user:eve",))
        for n in range(30)
    ]
    await house.put(*hidden)
    assert await house.search.find(house.caller, "docs", query) == before


async def test_the_database_itself_hides_documents(house: House, database: Database) -> None:
    """A transaction of the tenant that names no principals sees, counts and changes nothing that is not public."""
    await house.put(REFUNDS, SALARIES)
    async with database.tenant("acme") as connection:
        documents = await (await connection.execute("select external_id from retrieval_documents")).fetchall()
        chunks = await (await connection.execute("select count(*) as n from retrieval_chunks")).fetchone()
        gone = await connection.execute("delete from retrieval_documents where external_id = 'salaries.txt'")
    assert (documents, chunks, gone.rowcount) == ([{"external_id": "refunds.md"}], {"n": 1}, 0)


async def test_another_tenant_has_no_such_collection(house: House) -> None:
    """Not even its name is taken."""
    await house.put(REFUNDS)
    with pytest.raises(NotFound):
        await house.store.find("default", "docs")
    await house.collections.create("default", "docs", Settings())
    assert (await house.collections.show("default", "docs")).documents == 0


async def test_a_deleted_collection_leaves_nothing(house: House) -> None:
    """A new one of its name begins empty, and a second of one name is refused."""
    await house.put(REFUNDS)
    await house.collections.delete("acme", "docs")
    with pytest.raises(NotFound):
        await house.put(REFUNDS)
    await house.collections.create("acme", "docs", Settings())
    assert await house.found("refunds") == []
    with pytest.raises(Conflict):
        await house.collections.create("acme", "docs", Settings())


async def test_an_id_that_comes_twice_is_refused(house: House) -> None:
    """The error names the second; nothing is kept."""
    with pytest.raises(InvalidRequest) as caught:
        await house.put(OFFICE, REFUNDS, OFFICE)
    assert caught.value.param == "documents[2].external_id"
    assert (await house.collections.show("acme", "docs")).documents == 0


async def test_hostile_text_is_kept_as_it_is(house: House) -> None:
    """Right-to-left and CJK text, NUL, halves of characters, and lines without a blank."""
    odd = "مرحبا \x00 \ud800 豹队的防守 " + "x" * 5000
    await house.put(NewDocument(external_id="odd", text=odd, title="\x00"))
    (first, *_) = await house.search.find(house.caller, "docs", Query(text="豹队", mode="lexical"))
    assert "豹队的防守" in first.text


async def test_the_index_of_vectors_finds_what_looking_at_each_finds(house: House) -> None:
    """Also under a filter that few documents meet, in memory and in Postgres; its index goes with the collection."""
    documents = [
        NewDocument(
            external_id=f"{n:03}", text=f"Item {n} costs {n * 7 % 50} coins in shop {n % 13}.", metadata={"n": n}
        )
        for n in range(120)
    ]
    await house.put(*documents)
    asked = Query(text="coins in shop 5", mode="dense", by_document=True)
    rare = msgspec.structs.replace(asked, filter=read_filter({"n": {"in": [3, 77, 101, 119]}}))

    async def found() -> list[list[Found]]:
        return [
            await search.find(house.caller, "docs", query)
            for search in (house.search, house.far)
            for query in (asked, rare)
        ]

    exact = await found()
    assert exact[:2] == exact[2:]
    await house.store.index_vectors(await house.store.find("acme", "docs"), from_chunks=1)
    assert await found() == exact
    assert sorted(each.external_id for each in exact[1]) == ["003", "077", "101", "119"]
    await house.collections.delete("acme", "docs")


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_in_memory_follows_what_is_written(house: House, mode: Mode) -> None:
    """A document's new text, metadata and readers hold for the next search, with and without vectors in memory."""
    query = Query(text="office in Berlin", mode=mode, filter=read_filter({"lang": "en"}))
    steps: list[tuple[dict[str, Any], tuple[str, ...] | None, int]] = [
        ({"lang": "en"}, None, 1),
        ({"lang": "de"}, None, 0),
        ({}, None, 0),
        ({"lang": ["de", "en"]}, None, 1),
        ({"lang": "en"}, ("user:ada",), 0),
    ]
    for metadata, principals, found in steps:
        written = NewDocument(external_id="o", text=OFFICE.text, metadata=metadata, principals=principals)
        await house.put(REFUNDS, written)
        for search in (house.search, house.far):
            assert len(await search.find(house.caller, "docs", query)) == found, (metadata, principals)


_VALUES = st.sampled_from([1, 2.5, "a", "b\"'\\", True, None])
_FIELDS = st.sampled_from(["x", "y z", '$."q'])
_RULES = st.one_of(
    _VALUES,
    st.lists(_VALUES, min_size=1, max_size=3),
    st.fixed_dictionaries({"in": st.lists(_VALUES, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"ne": _VALUES}),
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"gte": st.sampled_from([1, 2])}),
)
_FILTERS = st.recursive(
    st.dictionaries(_FIELDS, _RULES, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=4,
)
_NESTED = st.recursive(st.one_of(_VALUES, st.just({"x": 1})), lambda inner: st.lists(inner, max_size=2), max_leaves=4)
_METADATA = st.dictionaries(_FIELDS, _NESTED, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(told=_FILTERS, kept=st.lists(_METADATA, min_size=1, max_size=4))
async def test_a_filter_keeps_what_meets_it(
    database: Database, told: dict[str, Any], kept: list[dict[str, Any]]
) -> None:
    """Postgres and what is in memory decide as the definition does, on any filter and any metadata."""
    fields = Fields()
    fields.update([(number, _json(metadata)) for number, metadata in enumerate(kept)])
    in_memory = fields.fits(told)
    assert in_memory is not None and in_memory.tolist() == [_meets(metadata, told) for metadata in kept]
    async with database.tenant("acme") as connection:
        for metadata in kept:
            cursor = await connection.execute(
                "select coalesce(jsonb_path_match(%s::jsonb, %s::jsonpath, '{}', true), false) as met",
                (_json(metadata), to_jsonpath(told)),
            )
            row = await cursor.fetchone()
            assert row == {"met": _meets(metadata, told)}, (metadata, told)


def _json(value: Any) -> str:
    return json.dumps(value)


def _meets(metadata: dict[str, Any], told: dict[str, Any]) -> bool:
    """A filter by its definition."""

    def one(name: str, wanted: Any) -> bool:
        if name == "and":
            return all(_meets(metadata, each) for each in wanted)
        if name == "or":
            return any(_meets(metadata, each) for each in wanted)
        if name == "not":
            return not _meets(metadata, wanted)
        items = _listed(metadata[name]) if name in metadata else []
        if not isinstance(wanted, dict):
            return any(_same(item, value) for item in items for value in _listed(wanted))
        rules: dict[str, Callable[[Any], bool]] = {
            "in": lambda value: any(_same(item, each) for item in items for each in value),
            "ne": lambda value: name in metadata and not any(_same(item, value) for item in items),
            "exists": lambda value: (name in metadata) == value,
            "gte": lambda value: any(
                isinstance(item, int | float) and not isinstance(item, bool) and item >= value for item in items
            ),
        }
        return all(rules[operator](value) for operator, value in cast(dict[str, Any], wanted).items())

    return all(one(name, wanted) for name, wanted in told.items())


def _listed(value: Any, depth: int = 3) -> list[Any]:
    """The items of a list, and of the lists in it."""
    if not isinstance(value, list):
        return [value]
    return [item for each in cast(list[Any], value) if depth for item in _listed(each, depth - 1)]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"year": {"above": 3}}, "filter.year.above"),
    ({"year": {"gt": None}}, "filter.year.gt"),
    ({"year": {}}, "filter.year"),
    ({"or": {"a": 1}}, "filter.or"),
    ({"and": [{}]}, "filter.and[0]"),
    ({"tag": {"in": []}}, "filter.tag.in"),
    ({"": 1}, "filter."),
    ({"a": "x" * 3000}, "filter.a"),
]


@pytest.mark.parametrize(("told", "param"), _WRONG)
def test_what_is_no_filter_is_refused_by_its_place(told: dict[str, Any], param: str) -> None:
    """The error's field leads to it."""
    with pytest.raises(InvalidRequest) as caught:
        to_jsonpath(told)
    assert caught.value.param == param
