"""Owns the pages of collections: their documents, a search that shows each stage, an answer that shows its evidence."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from backstay.console.ingests import work
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.core.errors import BackstayError
from backstay.retrieval import Query
from backstay.retrieval.ranking_types import Placed
from backstay.retrieval.types import Answer, Citation, Found

_PAGE = 50
_SHOWN = 10
_LONGEST = 2000
_EXCERPT = 400
_MEASURED = 5
_MEASURES = ("ndcg@10", "recall@10", "mrr@10")

STAGES = {
    "lexical": "by words",
    "dense": "by meaning",
    "search": "by both",
    "rerank": "reranked",
    "boost": "boosted",
    "mmr": "diverse",
}
"""In the order in which they come: the first two feed the third, each of the others the next."""
_ALONE = ("lexical", "dense")
"""Stages that are searches of their own."""
_FAR = 1000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A result, with its place at each stage where it is among the first."""

    found: Found
    excerpt: str
    address: str
    """Of the passage in its document."""
    places: dict[str, Placed]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to."""

    rows: list[Row] = []
    stages: dict[str, str] = {}
    """Those that there were, with their headings."""
    notes: list[str] = []
    """What was left out, and why."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of an answer, with what supports it."""

    text: str
    supported: bool
    citations: list[tuple[Citation, str]]
    """Each with the address of its passage."""


async def show(visit: Visit) -> Response:
    """List the tenant's collections."""
    return visit.page("collections.html", collections=await visit.deps.collections.all(visit.tenant_id))


async def one(visit: Visit) -> Response:
    """Show one collection: a search of it, and its documents."""
    asked, reader = _asked(visit.query)
    try:
        seen = await _search(visit, asked, _principals(reader)) if asked else Seen()
        problem = None
    except BackstayError as error:
        seen, problem = Seen(), error.message
    return await _page(visit, asked=asked, reader=reader, seen=seen, problem=problem)


async def answer(visit: Visit) -> Response:
    """Answer a question from the documents, as a call of who asks."""
    asked, reader = _asked(visit.form)
    answer, problem = None, None
    if asked:
        try:
            query = Query(text=asked, principals=_principals(reader))
            answer = await visit.deps.answers.give(visit.caller, _name(visit), query)
        except BackstayError as error:
            problem = error.message
    told = [] if answer is None else _told(_name(visit), answer)
    return await _page(visit, asked=asked, reader=reader, answer=answer, told=told, problem=problem)


async def _page(visit: Visit, **more: Any) -> Response:
    name = _name(visit)
    collection = await visit.deps.collections.show(visit.tenant_id, name)
    documents = await visit.deps.collections.documents(
        visit.tenant_id, name, after=visit.query.get("after", ""), limit=_PAGE + 1
    )
    shown: dict[str, Any] = {"seen": Seen(), "answer": None, "told": [], **more}
    return visit.page(
        "collection.html",
        collection=collection,
        quality=await visit.deps.quality.of(visit.tenant_id, name, visit.now),
        measured=(await visit.deps.measures.past(visit.tenant_id, name))[:_MEASURED],
        measures=_MEASURES,
        **await work(visit, name),
        documents=[(each, _address(name, each.external_id)) for each in documents[:_PAGE]],
        older=visit.link(after=documents[_PAGE - 1].external_id) if len(documents) > _PAGE else None,
        newest=visit.link(after=None) if visit.query.get("after") else None,
        **shown,
    )


async def _search(visit: Visit, asked: str, principals: Sequence[str]) -> Seen:
    """Search at each stage, and lay the results side by side. Raises ``BackstayError`` where a search fails."""
    name, found = _name(visit), dict[str, Found]()
    places: dict[str, dict[str, Placed]] = {}
    for mode in _ALONE:
        query = Query(text=asked, mode=mode, limit=_SHOWN, principals=principals)
        for rank, hit in enumerate(await visit.deps.search.find(visit.caller, name, query), 1):
            found[hit.chunk_id] = hit
            places.setdefault(hit.chunk_id, {})[mode] = Placed(rank=rank, score=hit.score)
    query = Query(text=asked, limit=_SHOWN, principals=principals)
    ranked = await visit.deps.ranked.rank(visit.caller, name, query, explains=True, is_trial=True)
    final = {hit.chunk_id: rank for rank, hit in enumerate(ranked.results)}
    for hit in ranked.results:
        found[hit.chunk_id] = hit
        places.setdefault(hit.chunk_id, {}).update({str(stage): place for stage, place in hit.stages.items()})
    order = sorted(found, key=lambda chunk: final.get(chunk, _FAR + min(at.rank for at in places[chunk].values())))
    reached = {"search", *_ALONE}.union(*(hit.stages for hit in ranked.results))
    return Seen(
        rows=[_row(name, found[chunk], places[chunk]) for chunk in order],
        stages={stage: words for stage, words in STAGES.items() if stage in reached},
        notes=ranked.notes,
    )


def _row(name: str, found: Found, places: Mapping[str, Placed]) -> Row:
    return Row(
        found=found,
        excerpt=found.text[:_EXCERPT],
        address=_address(name, found.external_id, found.start, found.end),
        places=dict(places),
    )


def _told(name: str, answer: Answer) -> list[Told]:
    return [
        Told(
            text=sentence.text,
            supported=sentence.supported,
            citations=[(each, _address(name, each.external_id, each.start, each.end)) for each in sentence.citations],
        )
        for sentence in answer.sentences
    ]


def _name(visit: Visit) -> str:
    return visit.request.path_params["collection"]


def _asked(told: Any) -> tuple[str, str]:
    return told.get("q", "").strip()[:_LONGEST], told.get("as", "").strip()[:_LONGEST]


def _principals(reader: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", reader) if part)


def _address(name: str, external_id: str, start: int | None = None, end: int | None = None) -> str:
    place = {} if start is None else {"start": str(start), "end": str(end)}
    return href(f"/collections/{name}/document", {"id": external_id, **place}) + ("#passage" if place else "")
