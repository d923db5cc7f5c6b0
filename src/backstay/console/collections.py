"""Owns the pages of collections: their documents, a search that shows each stage, an answer that shows its evidence."""

import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from starlette.responses import Response

from backstay.console.ingests import work
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.core.errors import BackstayError
from backstay.retrieval import Query
from backstay.retrieval.types import Answer, Citation, Found, Mode

_PAGE = 50
_SHOWN = 10
_LONGEST = 2000
_EXCERPT = 400

STAGES = {"lexical": "by words", "dense": "by meaning", "hybrid": "by both"}
"""In the order in which they come: both feed the last."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A result, with its rank and score at each stage; ``None``: not among the first there."""

    found: Found
    excerpt: str
    address: str
    """Of the passage in its document."""
    ranks: dict[str, int | None]
    scores: dict[str, float | None]


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
    rows, problem = await _search(visit, asked, _principals(reader))
    return await _page(visit, asked=asked, reader=reader, rows=rows, problem=problem)


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
    shown: dict[str, Any] = {"rows": [], "answer": None, "told": [], **more}
    return visit.page(
        "collection.html",
        collection=collection,
        stages=STAGES,
        **await work(visit, name),
        documents=[(each, _address(name, each.external_id)) for each in documents[:_PAGE]],
        older=visit.link(after=documents[_PAGE - 1].external_id) if len(documents) > _PAGE else None,
        newest=visit.link(after=None) if visit.query.get("after") else None,
        **shown,
    )


async def _search(visit: Visit, asked: str, principals: Sequence[str]) -> tuple[list[Row], str | None]:
    """Search at each stage, and lay the results side by side; a failure is told in words."""
    if not asked:
        return [], None
    name, found = _name(visit), dict[str, list[Found]]()
    try:
        for mode in get_args(Mode):
            query = Query(text=asked, mode=mode, limit=_SHOWN, principals=principals)
            found[mode] = await visit.deps.search.find(visit.caller, name, query)
    except BackstayError as error:
        return [], error.message
    ranks = {mode: {each.chunk_id: rank for rank, each in enumerate(hits, 1)} for mode, hits in found.items()}
    scores = {mode: {each.chunk_id: each.score for each in hits} for mode, hits in found.items()}
    chunks = {each.chunk_id: each for mode in ("dense", "lexical", "hybrid") for each in found[mode]}
    order = sorted(chunks, key=lambda chunk: min(ranks["hybrid"].get(chunk, 99), 50 + _best(ranks, chunk)))
    return [
        Row(
            found=chunks[chunk],
            excerpt=chunks[chunk].text[:_EXCERPT],
            address=_address(name, chunks[chunk].external_id, chunks[chunk].start, chunks[chunk].end),
            ranks={mode: ranks[mode].get(chunk) for mode in STAGES},
            scores={mode: scores[mode].get(chunk) for mode in STAGES},
        )
        for chunk in order
    ], None


def _told(name: str, answer: Answer) -> list[Told]:
    return [
        Told(
            text=sentence.text,
            supported=sentence.supported,
            citations=[(each, _address(name, each.external_id, each.start, each.end)) for each in sentence.citations],
        )
        for sentence in answer.sentences
    ]


def _best(ranks: dict[str, dict[str, int]], chunk: str) -> int:
    return min(each.get(chunk, 99) for each in ranks.values())


def _name(visit: Visit) -> str:
    return visit.request.path_params["collection"]


def _asked(told: Any) -> tuple[str, str]:
    return told.get("q", "").strip()[:_LONGEST], told.get("as", "").strip()[:_LONGEST]


def _principals(reader: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", reader) if part)


def _address(name: str, external_id: str, start: int | None = None, end: int | None = None) -> str:
    place = {} if start is None else {"start": str(start), "end": str(end)}
    return href(f"/collections/{name}/document", {"id": external_id, **place}) + ("#passage" if place else "")
