"""Owns collections of documents on Backstay's own API: keeping documents, and searching them."""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta
from starlette.responses import StreamingResponse

from backstay.access import AuditLog
from backstay.api.answer_stream import respond
from backstay.api.crawls import CrawlDeps
from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post
from backstay.api.ingests import IngestDeps
from backstay.api.migrations import MigrationDeps
from backstay.api.on_behalf import on_behalf
from backstay.api.principals import read_principals
from backstay.api.quality import QualityDeps
from backstay.core.caller import Caller
from backstay.core.errors import Conflict, NotFound, ProviderError, UnknownModel
from backstay.core.ports import ModelCalls, ModelStreams
from backstay.retrieval import Collections, Embeddings, Ingest, NewDocument, Query, RetrievalStore, Search, Settings
from backstay.retrieval.answering import Answers
from backstay.retrieval.calibrating import Calibrations
from backstay.retrieval.collections import NoVectors
from backstay.retrieval.filters import read_filter
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.ranking import RankedSearch
from backstay.retrieval.ranking_types import Ranking
from backstay.retrieval.recent import RecentQueries
from backstay.retrieval.streaming import AnswerStreams
from backstay.retrieval.types import (
    Answer,
    CalibrationView,
    Chunking,
    CollectionName,
    CollectionView,
    ExternalId,
    Found,
    Kept,
    KeptDocument,
    LabelledQuestion,
    Mode,
    ModelName,
    Principals,
    SettingsChange,
    Turn,
    Unsupported,
    WrongAnswers,
)
from backstay.retrieval.vector_stores import VectorStores
from backstay.store import Database

MOST_BYTES = 32 * 1024 * 1024
"""Of a body with documents, or with the ids of all that there are."""


class OwnCalls(ModelCalls, ModelStreams, Protocol):
    """Makes calls for those who ask, whole or streamed."""


class RetrievalDeps:
    """What these endpoints use."""

    def __init__(self, database: Database, calls: OwnCalls, *, keeps_queries: bool = True):
        store = RetrievalStore(database)
        embeddings = Embeddings(calls, store)
        generations = GenerationStore(database, store)
        self.recent = RecentQueries(generations, keeps_texts=keeps_queries)
        self.database = database
        self.collections = Collections(store)
        self.ingest = Ingest(store, embeddings, calls)
        self.search = Search(store, embeddings, self.recent.hear)
        self.crawling = CrawlDeps(database, store)
        self.ingesting = IngestDeps(database, store)
        self.migration = MigrationDeps(database, store, generations, embeddings, self.search)
        self.quality = QualityDeps(database, store, embeddings, keeps_queries=keeps_queries)
        self.ranked = RankedSearch(database, store, self.search, calls, self.quality.asks)
        self.quality.measuring(self.ranked)
        self.answers = Answers(store, self.ranked, calls, self.quality.asks)
        self.calibrations = Calibrations(store, self.search)
        self.streams = AnswerStreams(self.answers, calls)
        self.vector_stores = VectorStores(database)
        self.audit = AuditLog(database)

    async def listed(self, caller: Caller, principals: Sequence[str]) -> list[CollectionView]:
        """List collections. Who may not administrate sees of their sizes what these principals may read."""
        return await self.collections.all(caller.tenant_id, None if caller.may("admin") else principals)


class NewCollection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A collection to be made."""

    name: CollectionName
    embedding_model: ModelName = "embed"
    answer_model: ModelName = "local"
    language: Annotated[str, Meta(min_length=2, max_length=8)] = "auto"
    chunking: Chunking = Chunking()
    wrong_answers: WrongAnswers = 0.1
    unsupported: Unsupported = "mark"
    ranking: Ranking = Ranking()


class CollectionList(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's collections, by name."""

    collections: list[CollectionView]


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which documents to list."""

    after: Annotated[str, Meta(max_length=1000)] = ""
    """The last external id of the page before."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class DocumentList(msgspec.Struct, frozen=True, kw_only=True):
    """Documents by their external ids."""

    documents: list[KeptDocument]
    next: str | None
    """``after`` of the next page; ``None``: this is the last."""


class NewDocuments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents to be kept, in the place of those with their external ids."""

    documents: Annotated[list[NewDocument], Meta(min_length=1, max_length=1000)]


class Hashes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content hashes by external id."""

    hashes: Annotated[dict[ExternalId, Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]], Meta(max_length=10_000)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which of them are not kept like that: to be sent."""

    external_ids: list[str]


class ExternalIds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents by their external ids."""

    external_ids: Annotated[list[ExternalId], Meta(max_length=1_000_000)]


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How many documents are gone, from every index too."""

    removed: int


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Queries whose labels calibrate a collection."""

    queries: Annotated[list[LabelledQuestion], Meta(min_length=1, max_length=1000)]


class SearchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search. Without ``principals`` only what everybody may read is found."""

    query: Annotated[str, Meta(min_length=1, max_length=20_000)]
    limit: Annotated[int, Meta(ge=1, le=1000)] = 10
    mode: Mode = "hybrid"
    filter: dict[str, Any] | None = None
    principals: Principals = ()
    group_by: Annotated[str, Meta(pattern="^document$")] | None = None
    ranking: Ranking | None = None
    """In the place of the collection's own; ``{}``: none."""
    messages: Annotated[list[Turn], Meta(max_length=100)] = []
    """What was said before, for rankings that rewrite the question from it."""
    explain: bool = False
    """Whether each result tells of its place at each stage."""


class AskBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question, with what was said before it. Without ``principals`` only what everybody may read is used."""

    question: Annotated[str, Meta(min_length=1, max_length=20_000)]
    messages: Annotated[list[Turn], Meta(max_length=100)] = []
    filter: dict[str, Any] | None = None
    principals: Principals = ()
    stream: bool = False
    """Whether it is to come as server-sent events."""


class SearchResults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found, the best first."""

    results: list[Found]
    notes: list[str] = []
    """What was left out of the ranking, and why."""
    searched_for: list[str] = []
    """Where a model looked for other words: what was searched for, the question or its rewriting first."""


async def list_collections(deps: RetrievalDeps, asked: Asked[Nothing, Nothing]) -> CollectionList:
    principals = read_principals(asked.caller, dict(asked.request.headers.raw))
    return CollectionList(collections=await deps.listed(asked.caller, principals))


async def create_collection(deps: RetrievalDeps, asked: Asked[Nothing, NewCollection]) -> CollectionView:
    told = asked.body
    settings = Settings(
        chunking=told.chunking,
        embedding_model=told.embedding_model,
        answer_model=told.answer_model,
        language=told.language,
        wrong_answers=told.wrong_answers,
        unsupported=told.unsupported,
        ranking=told.ranking,
    )
    made = await deps.collections.create(asked.caller.tenant_id, told.name, settings)
    await _note(deps, asked, "collection.create", told.name)
    return made


async def show_collection(deps: RetrievalDeps, asked: Asked[Nothing, Nothing]) -> CollectionView:
    principals = read_principals(asked.caller, dict(asked.request.headers.raw))
    seen_by = None if asked.caller.may("admin") else principals
    return await deps.collections.show(asked.caller.tenant_id, asked.path("collection"), seen_by)


async def change_collection(deps: RetrievalDeps, asked: Asked[Nothing, SettingsChange]) -> CollectionView:
    name = asked.path("collection")
    changed = await deps.collections.change(asked.caller.tenant_id, name, asked.body)
    await _note(deps, asked, "collection.change", name, **msgspec.to_builtins(asked.body))
    return changed


async def delete_collection(deps: RetrievalDeps, asked: Asked[Nothing, Nothing]) -> Nothing:
    name = asked.path("collection")
    await deps.collections.delete(asked.caller.tenant_id, name)
    await _note(deps, asked, "collection.delete", name)
    return Nothing()


async def list_documents(deps: RetrievalDeps, asked: Asked[DocumentQuery, Nothing]) -> DocumentList:
    after, limit = asked.query.after, asked.query.limit
    found = await deps.collections.documents(
        asked.caller.tenant_id, asked.path("collection"), after=after, limit=limit + 1
    )  # fmt: skip
    page = found[:limit]
    return DocumentList(documents=page, next=page[-1].external_id if len(found) > limit else None)


async def put_documents(deps: RetrievalDeps, asked: Asked[Nothing, NewDocuments]) -> Kept:
    return await deps.ingest.put(asked.caller, asked.path("collection"), asked.body.documents)


async def compare_documents(deps: RetrievalDeps, asked: Asked[Nothing, Hashes]) -> Wanted:
    wanted = await deps.ingest.wanted(asked.caller.tenant_id, asked.path("collection"), asked.body.hashes)
    return Wanted(external_ids=wanted)


async def delete_documents(deps: RetrievalDeps, asked: Asked[Nothing, ExternalIds]) -> Removed:
    name = asked.path("collection")
    removed = await deps.collections.remove(asked.caller.tenant_id, name, asked.body.external_ids)
    await _note(deps, asked, "collection.remove", name, documents=removed)
    return Removed(removed=removed)


async def prune_documents(deps: RetrievalDeps, asked: Asked[Nothing, ExternalIds]) -> Removed:
    name = asked.path("collection")
    removed = await deps.collections.prune(asked.caller.tenant_id, name, asked.body.external_ids)
    await _note(deps, asked, "collection.prune", name, documents=removed)
    return Removed(removed=removed)


async def calibrate(deps: RetrievalDeps, asked: Asked[Nothing, Labels]) -> CalibrationView:
    name = asked.path("collection")
    made = await deps.calibrations.make(asked.caller, name, asked.body.queries)
    await _note(deps, asked, "collection.calibrate", name, queries=len(asked.body.queries))
    return made


async def forget_calibration(deps: RetrievalDeps, asked: Asked[Nothing, Nothing]) -> Nothing:
    name = asked.path("collection")
    await deps.calibrations.forget(asked.caller, name)
    await _note(deps, asked, "collection.uncalibrate", name)
    return Nothing()


async def search(deps: RetrievalDeps, asked: Asked[Nothing, SearchBody]) -> SearchResults:
    headers = dict(asked.request.headers.raw)
    query = _query(asked.body, read_principals(asked.caller, headers, asked.body.principals))
    told, acting = asked.body, on_behalf(asked.caller, headers)
    ranked = await deps.ranked.rank(
        acting, asked.path("collection"), query, told.ranking, messages=told.messages, explains=told.explain
    )  # fmt: skip
    return SearchResults(results=list(ranked.results), notes=ranked.notes, searched_for=ranked.searched_for)


async def answer(deps: RetrievalDeps, asked: Asked[Nothing, AskBody]) -> Answer | StreamingResponse:
    told, headers = asked.body, dict(asked.request.headers.raw)
    query = Query(
        text=told.question,
        filter=read_filter(told.filter),
        principals=read_principals(asked.caller, headers, told.principals),
    )
    caller, name = on_behalf(asked.caller, headers), asked.path("collection")
    if told.stream:
        return await respond(deps.streams.give(caller, name, query, told.messages))
    return await deps.answers.give(caller, name, query, told.messages)


def _query(told: SearchBody, principals: Sequence[str]) -> Query:
    return Query(
        text=told.query,
        limit=told.limit,
        mode=told.mode,
        filter=read_filter(told.filter),
        principals=principals,
        by_document=told.group_by is not None,
    )


async def _note(
    deps: RetrievalDeps, asked: Asked[Any, Any], action: str, subject: str, **detail: Any
) -> None:  # fmt: skip
    async with deps.database.system() as connection:
        await deps.audit.note_own(connection, asked.caller, action, subject, **detail)


_NO_SUCH = (NotFound,)
_MODEL = (NotFound, UnknownModel, ProviderError)

RETRIEVAL_ENDPOINTS: tuple[Endpoint[RetrievalDeps, Any, Any], ...] = (
    get("/v1/collections", "List collections of documents", list_collections,
        answer=CollectionList, query=Nothing, right="read"),
    post(
        "/v1/collections", "Make a collection of documents", create_collection,
        answer=CollectionView, body=NewCollection, right="admin", status=201, errors=(Conflict, NoVectors),
    ),
    get("/v1/collections/{collection}", "Show a collection", show_collection,
        answer=CollectionView, query=Nothing, right="read", errors=_NO_SUCH),
    post(
        "/v1/collections/{collection}/change", "Change how a collection answers", change_collection,
        answer=CollectionView, body=SettingsChange, right="admin", errors=_NO_SUCH,
    ),
    post(
        "/v1/collections/{collection}/delete", "Delete a collection with all that is in it", delete_collection,
        answer=Nothing, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    get("/v1/collections/{collection}/documents", "List the documents of a collection", list_documents,
        answer=DocumentList, query=DocumentQuery, right="admin", errors=_NO_SUCH),
    post(
        "/v1/collections/{collection}/documents", "Keep documents: new ones, and changed ones in their old place",
        put_documents, answer=Kept, body=NewDocuments, right="admin", errors=(*_MODEL, Conflict), most_bytes=MOST_BYTES,
    ),
    post(
        "/v1/collections/{collection}/documents/compare", "Ask which documents changed, by their content hashes",
        compare_documents, answer=Wanted, body=Hashes, right="admin", errors=_NO_SUCH, most_bytes=MOST_BYTES,
    ),
    post(
        "/v1/collections/{collection}/documents/delete", "Delete documents, from every index at once",
        delete_documents, answer=Removed, body=ExternalIds, right="admin", errors=_NO_SUCH, most_bytes=MOST_BYTES,
    ),
    post(
        "/v1/collections/{collection}/documents/prune", "Delete all documents but those named",
        prune_documents, answer=Removed, body=ExternalIds, right="admin", errors=_NO_SUCH, most_bytes=MOST_BYTES,
    ),
    post(
        "/v1/collections/{collection}/calibration", "Calibrate relevance and abstention by labelled queries", calibrate,
        answer=CalibrationView, body=Labels, right="admin", errors=_MODEL, most_bytes=MOST_BYTES,
    ),
    post(
        "/v1/collections/{collection}/calibration/delete", "Forget what labels showed", forget_calibration,
        answer=Nothing, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    post(
        "/v1/collections/{collection}/search", "Search a collection, as those may who ask", search,
        answer=SearchResults, body=SearchBody, right="call", errors=_MODEL,
    ),
    post(
        "/v1/collections/{collection}/answer", "Answer a question from a collection, each sentence checked", answer,
        answer=Answer, body=AskBody, right="call", errors=_MODEL, other_media_types=("text/event-stream",),
    ),
)  # fmt: skip
