"""Owns the comparison of two generations: what each finds for the same queries, and how good that is."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import Conflict
from backstay.retrieval.evaluation import evaluate
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.search import Search
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import Collection, Query

DEPTH = 10
"""Documents that are compared of each query."""
_MOST_SHOWN = 20


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A query, and which documents are relevant, if that is known."""

    query: Query
    relevant: Mapping[str, float] = {}
    """Grades by external id."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What both generations find for one query, by external ids, the best first."""

    query: str
    overlap: float
    """Share of their documents that both find, from 0 to 1."""
    live: list[str]
    other: list[str]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two generations side by side."""

    queries: int
    overlap: float | None
    """Mean share of the first ten documents that both find; ``None``: no query."""
    same_first: float | None
    """Share of queries whose first document is the same."""
    live: dict[str, float]
    """nDCG, recall and MRR of the live generation, where relevant documents are known."""
    other: dict[str, float]
    differences: list[Difference]
    """The queries that differ most, the least overlap first."""


class Comparing:
    """Compares the generations of collections."""

    def __init__(self, generations: GenerationStore, store: RetrievalStore, search: Search):
        self._generations = generations
        self._store = store
        self._search = search

    async def compare(self, caller: Caller, name: str, asked: Sequence[Asked] = (), *, recent: int = 50) -> Comparison:
        """Search both generations for some queries, or for those that were asked last.

        Raises:
            NotFound: There is no such collection.
            Conflict: It has one generation alone.
            BackstayError: What calls of either embedding model may end with.
        """
        generations = await self._store.generations(caller.tenant_id, name)
        if len(generations) < 2:
            raise Conflict(
                f"{name} has one generation alone: `backstay collections migration start {name}` begins one."
            )
        if not asked:
            asked = [
                Asked(query=each) for each in await self._generations.recent_queries(caller.tenant_id, name, recent)
            ]
        found = [await self._found(caller, each, asked) for each in generations[:2]]
        rows = [
            Difference(query=each.query.text, overlap=_overlap(live, other), live=live, other=other)
            for each, live, other in zip(asked, *found, strict=True)
        ]
        measures = [_measures(asked, each) for each in found]
        return Comparison(
            queries=len(rows),
            overlap=round(fmean(row.overlap for row in rows), 4) if rows else None,
            same_first=round(fmean(row.live[:1] == row.other[:1] for row in rows), 4) if rows else None,
            live=measures[0],
            other=measures[1],
            differences=sorted(
                (row for row in rows if row.live != row.other), key=lambda row: (row.overlap, row.query)
            )[:_MOST_SHOWN],
        )

    async def _found(self, caller: Caller, collection: Collection, asked: Sequence[Asked]) -> list[list[str]]:
        found: list[list[str]] = []
        for each in asked:
            query = msgspec.structs.replace(each.query, limit=DEPTH, by_document=True)
            found.append([hit.external_id for hit in await self._search.within(caller, collection, query)])
        return found


def _overlap(live: Sequence[str], other: Sequence[str]) -> float:
    both = set(live) | set(other)
    return 1.0 if not both else round(len(set(live) & set(other)) / max(len(live), len(other)), 4)


def _measures(asked: Sequence[Asked], found: Sequence[Sequence[str]]) -> dict[str, float]:
    judged = {str(place): each.relevant for place, each in enumerate(asked) if each.relevant}
    if not judged:
        return {}
    measured = evaluate({str(place): each for place, each in enumerate(found)}, judged)
    return {name: round(value, 4) for name, value in measured.items()}
