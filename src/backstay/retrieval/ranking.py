"""Owns ranking: what becomes of the first hits of a search by the collection's settings, or those of the request."""

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError
from backstay.core.ports import ModelCalls
from backstay.retrieval.asks import Ask, Asks
from backstay.retrieval.boosting import boost
from backstay.retrieval.diversity import diversify
from backstay.retrieval.expanding import Expanding
from backstay.retrieval.ranking_store import RankingStore
from backstay.retrieval.ranking_types import Placed, Ranking, Rerank, Stage
from backstay.retrieval.reranking import ChatReranker, ModelReranker, Reranker
from backstay.retrieval.search import Search
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import Collection, Found, Query, Turn
from backstay.store import Database

_MOST_FOUND = 1000


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found, as it is shown and as it was found."""

    results: Sequence[Found]
    """As many as were asked for, the best first."""
    ask: Ask
    """What the quality watch remembers of it."""
    hits: Sequence[Found]
    """Before any ranking, by the score of the search: what evidence and relevance were learnt on."""
    notes: list[str]
    """What was left out of the ranking, and why, in words for people."""
    searched_for: list[str] = []
    """Where other words were looked for: what was searched for in the end, the heaviest first."""


class RankedSearch:
    """Searches collections and ranks what is found."""

    def __init__(self, database: Database, store: RetrievalStore, search: Search, calls: ModelCalls, asks: Asks):
        self._store = store
        self._search = search
        self._asks = asks
        self._expanding = Expanding(calls)
        self._facts = RankingStore(database)
        self._rerankers: Mapping[str, Reranker] = {"rerank": ModelReranker(calls), "chat": ChatReranker(calls)}

    async def find(self, caller: Caller, name: str, query: Query) -> list[Found]:
        """Return what is shown, ranked as the collection says. Raises as ``Search.find``."""
        return list((await self.rank(caller, name, query)).results)

    async def rank(
        self,
        caller: Caller,
        name: str,
        query: Query,
        ranking: Ranking | None = None,
        *,
        messages: Sequence[Turn] = (),
        explains: bool = False,
        is_trial: bool = False,
    ) -> Ranked:
        """Search, and rank the first hits. A stage that fails is left out, and said.

        Args:
            ranking: In the place of the collection's own; ``None``: that.
            messages: What was said before, which a question may be rewritten from.
            explains: Whether results tell of their place at each stage.
            is_trial: Whether the quality watch is to leave it out: it is a measurement, or the caller notes it.

        Raises:
            NotFound: There is no such collection.
            BackstayError: What a call of the embedding model may end with.
        """
        collection = await self._store.find(caller.tenant_id, name)
        ranking = ranking or collection.settings.ranking
        asked, note = query, None
        if ranking.expand is not None:
            acting = _within(caller, ranking.expand.timeout_s)
            asked, note = await self._expanding.expand(acting, collection, query, ranking.expand, messages)
        is_plain = ranking.does_nothing and not explains
        limit = query.limit if is_plain else min(max(query.limit, ranking.depth), _MOST_FOUND)
        hits = await self._search.starting_from(caller, collection, msgspec.structs.replace(asked, limit=limit))
        ask = self._asks.of(collection, asked, hits)
        if not is_trial:
            self._asks.note(ask)
        log = _Log(hits, [note] if note else [])
        shown = (await self._stages(caller, collection, asked, ranking, hits, log))[: query.limit]
        return Ranked(
            results=log.explain(shown) if explains else shown,
            ask=ask,
            hits=hits[: query.limit],
            notes=log.notes,
            searched_for=[asked.text, *(text for text, _ in asked.earlier)] if ranking.expand is not None else [],
        )

    async def _stages(
        self, caller: Caller, collection: Collection, query: Query, ranking: Ranking, hits: list[Found], log: "_Log"
    ) -> list[Found]:
        first, rest = hits[: ranking.depth], hits[ranking.depth :]
        if ranking.rerank is not None and first:
            first = await self._rerank(caller, collection, query, ranking.rerank, first, log)
        if first and (ranking.recency or ranking.authority or ranking.mmr):
            facts = await self._facts.facts(collection, query, ranking, first)
            if ranking.recency or ranking.authority:
                first = boost(first, facts, ranking, dt.datetime.now(dt.UTC))
                log.note_order("boost", first)
            if ranking.mmr is not None:
                first = diversify(first, facts, ranking.mmr.share)
                log.note_order("mmr", first)
        return [*first, *rest]

    async def _rerank(
        self, caller: Caller, collection: Collection, query: Query, wanted: Rerank, found: list[Found], log: "_Log"
    ) -> list[Found]:
        """Order hits as a model says; as they were, where it fails. Those it says nothing of come last."""
        acting = collection.payer(_within(caller, wanted.timeout_s))
        try:
            scores = await self._rerankers[wanted.by].score(acting, wanted, query.text, found)
        except BackstayError as error:
            log.notes.append(f"Not reranked by {wanted.model}: {error.message}")
            return found
        told = [
            msgspec.structs.replace(each, score=round(score, 6))
            for each, score in zip(found, scores, strict=True)
            if score is not None
        ]
        told.sort(key=lambda each: -each.score)
        least = min((each.score for each in told), default=0.0)
        untold = [
            msgspec.structs.replace(each, score=min(least, 0.0))
            for each, score in zip(found, scores, strict=True)
            if score is None
        ]
        log.note_order("rerank", told)
        return [*told, *untold]


class _Log:
    """What happened to the hits, stage by stage."""

    def __init__(self, hits: Sequence[Found], notes: list[str]):
        self.notes = notes
        self._places: dict[str, dict[Stage, Placed]] = {}
        self.note_order("search", hits)

    def note_order(self, stage: Stage, found: Sequence[Found]) -> None:
        for rank, each in enumerate(found, 1):
            self._places.setdefault(each.chunk_id, {})[stage] = Placed(rank=rank, score=each.score)

    def explain(self, found: Sequence[Found]) -> list[Found]:
        return [msgspec.structs.replace(each, stages=self._places[each.chunk_id]) for each in found]


def _within(caller: Caller, timeout_s: float) -> Caller:
    """Return the caller with no more time than that for the calls that are made for them."""
    left_s = caller.terms.deadline_s
    terms = msgspec.structs.replace(caller.terms, deadline_s=timeout_s if left_s is None else min(timeout_s, left_s))
    return msgspec.structs.replace(caller, terms=terms)
