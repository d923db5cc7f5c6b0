"""Owns on Backstay's own API how well a collection is searched: the watch without labels, measures with them."""

import datetime as dt
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post
from backstay.api.on_behalf import on_behalf
from backstay.core.errors import NotFound, ProviderError, UnknownModel
from backstay.retrieval import Embeddings, RetrievalStore
from backstay.retrieval.asks import Asks
from backstay.retrieval.measuring import Judgement, Measuring
from backstay.retrieval.quality import Quality, QualityWatch
from backstay.retrieval.quality_store import Evaluation, QualityStore
from backstay.retrieval.ranking import RankedSearch
from backstay.retrieval.ranking_types import Ranking
from backstay.retrieval.types import Mode
from backstay.store import Database


class QualityDeps:
    """What these endpoints use, and what fills it."""

    def __init__(self, database: Database, store: RetrievalStore, embeddings: Embeddings, *, keeps_queries: bool):
        self._store = store
        self._quality = QualityStore(database)
        self.asks = Asks(self._quality, embeddings, keeps_texts=keeps_queries)
        self.watch = QualityWatch(store, self._quality)

    def measuring(self, ranked: RankedSearch) -> None:
        """Measure by these searches."""
        self.measures = Measuring(self._store, self._quality, ranked)


class NewEvaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A labelled set, and how it is to be searched."""

    queries: Annotated[list[Judgement], Meta(min_length=1, max_length=1000)]
    mode: Mode = "hybrid"
    ranking: Ranking | None = None
    """In the place of the collection's own; ``{}``: none."""
    label: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """By which it is kept; ``None``: it is not."""


class EvaluationList(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, the newest first."""

    evaluations: list[Evaluation]


async def show_quality(deps: QualityDeps, asked: Asked[Nothing, Nothing]) -> Quality:
    return await deps.watch.of(asked.caller.tenant_id, asked.path("collection"), dt.datetime.now(dt.UTC))


async def list_evaluations(deps: QualityDeps, asked: Asked[Nothing, Nothing]) -> EvaluationList:
    return EvaluationList(evaluations=await deps.measures.past(asked.caller.tenant_id, asked.path("collection")))


async def evaluate(deps: QualityDeps, asked: Asked[Nothing, NewEvaluation]) -> Evaluation:
    told, caller = asked.body, on_behalf(asked.caller, dict(asked.request.headers.raw))
    return await deps.measures.measure(
        caller, asked.path("collection"), told.queries, mode=told.mode, ranking=told.ranking, label=told.label
    )


_PLACE = "/v1/collections/{collection}"

QUALITY_ENDPOINTS: tuple[Endpoint[QualityDeps, Any, Any], ...] = (
    get(f"{_PLACE}/quality", "Tell how a collection does, now and before", show_quality,
        answer=Quality, query=Nothing, right="admin", errors=(NotFound,)),
    get(f"{_PLACE}/evaluations", "List what labelled sets measured", list_evaluations,
        answer=EvaluationList, query=Nothing, right="admin", errors=(NotFound,)),
    post(
        f"{_PLACE}/evaluations", "Measure how well a collection finds what a labelled set says", evaluate,
        answer=Evaluation, body=NewEvaluation, right="admin", errors=(NotFound, UnknownModel, ProviderError),
        most_bytes=32 * 1024 * 1024,
    ),
)  # fmt: skip
