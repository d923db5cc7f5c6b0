"""Owns evaluations: a collection searched by the queries of a labelled set, measured, and kept if wanted."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.retrieval.evaluation import evaluate
from backstay.retrieval.quality_store import Evaluation, Measure, QualityStore
from backstay.retrieval.ranking import RankedSearch
from backstay.retrieval.ranking_types import Ranking
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import ExternalId, Mode, Principals, Query
from backstay.statistics.bootstrap import mean_interval

_DEPTH = 100
_MOST_KEPT = 200


class Judgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query, and which documents are relevant to it."""

    query: Annotated[str, Meta(min_length=1, max_length=20_000)]
    relevant: Annotated[Mapping[ExternalId, Annotated[float, Meta(ge=0)]], Meta(min_length=1, max_length=1000)]
    """Grades by external id; larger ones are better, 0 is not relevant."""
    principals: Principals = ()


class Measuring:
    """Measures collections, and remembers."""

    def __init__(self, store: RetrievalStore, quality: QualityStore, ranked: RankedSearch):
        self._store = store
        self._quality = quality
        self._ranked = ranked

    async def measure(
        self,
        caller: Caller,
        name: str,
        judged: Sequence[Judgement],
        *,
        mode: Mode = "hybrid",
        ranking: Ranking | None = None,
        label: str | None = None,
    ) -> Evaluation:
        """Search by each query, and tell the means of nDCG@10, recall and MRR with their intervals.

        Args:
            ranking: In the place of the collection's own; ``None``: that.
            label: By which it is kept; ``None``: it is not.

        Raises:
            InvalidRequest: No query has a relevant document.
            NotFound: There is no such collection.
            BackstayError: What a call of the embedding model may end with. Nothing is kept.
        """
        judged = [each for each in judged if any(grade > 0 for grade in each.relevant.values())]
        if not judged:
            raise InvalidRequest("No query has a relevant document: give one a grade above 0.", param="queries")
        collection = await self._store.find(caller.tenant_id, name)
        ranking = ranking or collection.settings.ranking
        each_measured: list[dict[str, float]] = []
        for each in judged:
            query = Query(text=each.query, limit=_DEPTH, mode=mode, principals=each.principals, by_document=True)
            ranked = await self._ranked.rank(caller, name, query, ranking, is_trial=True)
            rankings = {"q": [hit.external_id for hit in ranked.results]}
            each_measured.append(evaluate(rankings, {"q": each.relevant}))
        measures = {name: _measure([each[name] for each in each_measured]) for name in each_measured[0]}
        kept_id = ""
        if label is not None:
            kept_id = await self._quality.keep_evaluation(
                collection, label=label, mode=mode, ranking=ranking, queries=len(judged), measures=measures
            )
        return Evaluation(
            id=kept_id,
            made_at=dt.datetime.now(dt.UTC),
            label=label or "",
            mode=mode,
            ranking=ranking,
            generation=collection.generation,
            queries=len(judged),
            measures=measures,
        )

    async def past(self, tenant_id: str, name: str) -> list[Evaluation]:
        """List what was measured, the newest first. Raises ``NotFound``."""
        return await self._quality.evaluations(await self._store.find(tenant_id, name), limit=_MOST_KEPT)


def _measure(values: Sequence[float]) -> Measure:
    low, high = mean_interval(values)
    return Measure(mean=round(sum(values) / len(values), 4), low=round(low, 4), high=round(high, 4))
