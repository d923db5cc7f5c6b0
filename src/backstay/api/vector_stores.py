"""Owns ``/v1/vector_stores``: collections in the shape of OpenAI's SDK, made, listed, searched and deleted.

A vector store's id is its collection's name. Source: OpenAI's OpenAPI document, VectorStoreObject,
VectorStoreSearchRequest and VectorStoreSearchResultsPage (2026-08).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.api.auth import Authenticate
from backstay.api.files import answering, json_answer, page, read_limit
from backstay.api.on_behalf import on_behalf
from backstay.api.principals import read_principals
from backstay.api.retrieval import RetrievalDeps
from backstay.api.vector_bodies import Chunked, StoreFiles, chunking_of, read_body
from backstay.api.vector_filters import to_filter
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_id
from backstay.retrieval import Query, Settings
from backstay.retrieval.filters import read_filter
from backstay.retrieval.types import Chunking, Found
from backstay.retrieval.vector_stores import Order, VectorStore

Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class NewStore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vector store is made with."""

    name: Annotated[str, Meta(max_length=256)] | None = None
    file_ids: Annotated[list[str], Meta(max_length=500)] = []
    metadata: Metadata | None = None
    chunking_strategy: Chunked | None = None
    expires_after: Any = None
    description: str | None = None


class StoreChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vector store is to be called."""

    name: Annotated[str, Meta(max_length=256)] | None = None
    metadata: Metadata | None = None
    expires_after: Any = None


class Ranking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which results to leave out. There is one ranker, whichever is named."""

    ranker: str = "auto"
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.0
    rewrite_query: bool | None = None


class StoreSearch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search."""

    query: (
        Annotated[str, Meta(min_length=1, max_length=20_000)]
        | Annotated[list[Annotated[str, Meta(min_length=1, max_length=20_000)]], Meta(min_length=1, max_length=16)]
    )
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    filters: Any = None
    ranking_options: Ranking = Ranking()
    rewrite_query: bool = False
    """Has no effect: queries are searched for as they are."""


def routes(authenticate: Authenticate, deps: RetrievalDeps, files: StoreFiles) -> list[Route]:
    """Build the routes of one worker."""
    wire = _Stores(deps, files)
    one = "/v1/vector_stores/{store_id}"
    paths: Sequence[tuple[str, str, Any]] = (
        ("POST", "/v1/vector_stores", wire.create),
        ("GET", "/v1/vector_stores", wire.index),
        ("GET", one, wire.show),
        ("POST", one, wire.update),
        ("DELETE", one, wire.delete),
        ("POST", f"{one}/search", wire.search),
    )
    return [Route(path, answering(authenticate, handle), methods=[method]) for method, path, handle in paths]


class _Stores:
    """Answers requests about stores."""

    def __init__(self, deps: RetrievalDeps, files: StoreFiles):
        self._deps = deps
        self._stores = deps.vector_stores
        self._files = files

    async def create(self, request: Request, caller: Caller) -> Response:
        told = await read_body(request, NewStore)
        _refuse_expiry(told.expires_after)
        store_id = new_id("vs")
        settings = Settings(chunking=chunking_of(told.chunking_strategy) or Chunking())
        files = await self._files.look_up(caller, [(file_id, {}, None) for file_id in told.file_ids])
        await self._deps.collections.create(caller.tenant_id, store_id, settings)
        await self._stores.name(caller, store_id, told.name or store_id, told.metadata or {})
        if files:
            await self._files.put(caller, store_id, files, None)
        return json_answer(await self._shown(request, caller, store_id))

    async def index(self, request: Request, caller: Caller) -> Response:
        limit = read_limit(request, default=20, most=100)
        found = await self._stores.all(
            caller,
            counted_for(request, caller),
            after=request.query_params.get("after"),
            limit=limit + 1,
            order=read_order(request),
        )
        return json_answer(page([write_store(each) for each in found], limit))

    async def show(self, request: Request, caller: Caller) -> Response:
        return json_answer(await self._shown(request, caller, request.path_params["store_id"]))

    async def update(self, request: Request, caller: Caller) -> Response:
        told = await read_body(request, StoreChange)
        _refuse_expiry(told.expires_after)
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        metadata = store.metadata if told.metadata is None else told.metadata
        await self._stores.name(caller, store.id, told.name or store.name, metadata)
        return json_answer(await self._shown(request, caller, store.id))

    async def delete(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        await self._deps.collections.delete(caller.tenant_id, store.id)
        return json_answer({"id": store.id, "object": "vector_store.deleted", "deleted": True})

    async def search(self, request: Request, caller: Caller) -> Response:
        told, headers = await read_body(request, StoreSearch), dict(request.headers.raw)
        store_id = request.path_params["store_id"]
        queries = [told.query] if isinstance(told.query, str) else told.query
        query = Query(
            text=queries[0],
            earlier=[(each, 1.0) for each in queries[1:]],
            limit=told.max_num_results,
            filter=None if told.filters is None else read_filter(to_filter(told.filters)),
            principals=read_principals(caller, headers),
        )
        found = await self._deps.ranked.find(on_behalf(caller, headers), store_id, query)
        kept = [each for each in found if (each.relevance or 0.0) >= told.ranking_options.score_threshold]
        about = await self._stores.about(caller, store_id, [each.external_id for each in kept], query.principals)
        data = [_result(each, *about[each.external_id]) for each in kept if each.external_id in about]
        told_page = {"object": "vector_store.search_results.page", "search_query": queries, "data": data}
        return json_answer({**told_page, "has_more": False, "next_page": None})

    async def _shown(self, request: Request, caller: Caller, store_id: str) -> dict[str, Any]:
        return write_store(await self._stores.find(caller, store_id, counted_for(request, caller)))


def counted_for(request: Request, caller: Caller) -> Sequence[str] | None:
    """Return who must be able to read what is counted; ``None``: nobody, for admins."""
    principals = read_principals(caller, dict(request.headers.raw))
    return None if caller.may("admin") else principals


def read_order(request: Request) -> Order:
    """Read ``order``. Raises ``InvalidRequest``."""
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc.", param="order")
    if "before" in request.query_params:
        raise InvalidRequest("Pages go on by `after`; there is no `before`.", param="before")
    return order


def write_store(store: VectorStore) -> dict[str, Any]:
    """Write a vector store in OpenAI's shape."""
    status: Literal["in_progress", "completed"] = "in_progress" if store.in_progress else "completed"
    counts = {name: getattr(store, name) for name in ("in_progress", "completed", "failed", "cancelled")}
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": int(store.created_at.timestamp()),
        "name": store.name,
        "usage_bytes": store.usage_bytes,
        "file_counts": {**counts, "total": sum(counts.values())},
        "status": status,
        "expires_at": None,
        "last_active_at": int(store.last_active_at.timestamp()),
        "metadata": store.metadata,
    }


def _result(found: Found, filename: str, metadata: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in metadata.items() if isinstance(value, str | int | float)}
    return {
        "file_id": found.external_id,
        "filename": filename,
        "score": found.relevance or 0.0,
        "attributes": plain,
        "content": [{"type": "text", "text": found.text}],
    }


def _refuse_expiry(told: Any) -> None:
    if told is not None:
        raise InvalidRequest(
            "Vector stores do not expire here. Leave it out, and delete the store.", param="expires_after"
        )
