"""Owns the pages of collections: which documents are there, and what a search of them finds, each way of searching."""

import re
from collections.abc import Sequence
from typing import get_args

import msgspec
from starlette.responses import Response

from backstay.console.ingests import work
from backstay.console.visit import Visit
from backstay.core.errors import BackstayError
from backstay.retrieval import Query
from backstay.retrieval.types import Found, Mode

_PAGE = 50
_SHOWN = 10
_LONGEST = 2000
_EXCERPT = 600

WORDS = {"hybrid": "by both", "lexical": "by words", "dense": "by meaning"}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A result, with its rank by each way of searching; ``None``: not among the first."""

    found: Found
    excerpt: str
    ranks: dict[str, int | None]
    scores: dict[str, float | None]


async def show(visit: Visit) -> Response:
    """List the tenant's collections."""
    return visit.page("collections.html", collections=await visit.deps.collections.all(visit.tenant_id))


async def one(visit: Visit) -> Response:
    """Show one collection: a search of it, and its documents."""
    name = visit.request.path_params["collection"]
    collection = await visit.deps.collections.show(visit.tenant_id, name)
    asked, reader = visit.query.get("q", "").strip()[:_LONGEST], visit.query.get("as", "").strip()[:_LONGEST]
    principals = tuple(part for part in re.split(r"[,\s]+", reader) if part)
    rows, problem = await _search(visit, name, asked, principals)
    documents = await visit.deps.collections.documents(
        visit.tenant_id, name, after=visit.query.get("after", ""), limit=_PAGE + 1
    )
    return visit.page(
        "collection.html",
        collection=collection,
        asked=asked,
        reader=reader,
        rows=rows,
        problem=problem,
        modes=WORDS,
        **await work(visit, name),
        documents=documents[:_PAGE],
        older=visit.link(after=documents[_PAGE - 1].external_id) if len(documents) > _PAGE else None,
        newest=visit.link(after=None) if visit.query.get("after") else None,
    )


async def _search(visit: Visit, name: str, asked: str, principals: Sequence[str]) -> tuple[list[Row], str | None]:
    """Search in each mode, and lay the results side by side; a failure is told in words."""
    if not asked:
        return [], None
    found: dict[str, list[Found]] = {}
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
            ranks={mode: ranks[mode].get(chunk) for mode in WORDS},
            scores={mode: scores[mode].get(chunk) for mode in WORDS},
        )
        for chunk in order
    ], None


def _best(ranks: dict[str, dict[str, int]], chunk: str) -> int:
    return min(each.get(chunk, 99) for each in ranks.values())
