"""Owns the files of vector stores, one by one and in batches, in the shape of OpenAI's SDK.

Source: OpenAI's OpenAPI document, VectorStoreFileObject, VectorStoreFileBatchObject and VectorStoreFileContentResponse
(2026-08).
"""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.api.auth import Authenticate
from backstay.api.files import answering, json_answer, page, read_limit
from backstay.api.retrieval import RetrievalDeps
from backstay.api.vector_bodies import Attributes, Chunked, Named, NewStoreFile, StoreFiles, read_body
from backstay.api.vector_stores import read_order
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_id
from backstay.retrieval.vector_stores import FileBatch, Status, VectorFile

_POLL = {"openai-poll-after-ms": "200", "cache-control": "no-store"}
"""When the SDK is to ask again."""


class NewBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files to be put into a vector store together."""

    file_ids: Annotated[list[str], Meta(min_length=1, max_length=2000)] | None = None
    files: Annotated[list[NewStoreFile], Meta(min_length=1, max_length=2000)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Chunked | None = None


class NewAttributes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file's attributes, in the place of those that it had."""

    attributes: Attributes | None


def routes(authenticate: Authenticate, deps: RetrievalDeps, files: StoreFiles) -> list[Route]:
    """Build the routes of one worker."""
    wire = _Files(deps, files)
    all_files, batches = "/v1/vector_stores/{store_id}/files", "/v1/vector_stores/{store_id}/file_batches"
    one, batch = all_files + "/{file_id}", batches + "/{batch_id}"
    paths: Sequence[tuple[str, str, Any]] = (
        ("POST", all_files, wire.create),
        ("GET", all_files, wire.index),
        ("GET", one, wire.show),
        ("POST", one, wire.update),
        ("DELETE", one, wire.delete),
        ("GET", f"{one}/content", wire.content),
        ("POST", batches, wire.create_batch),
        ("GET", batch, wire.show_batch),
        ("POST", f"{batch}/cancel", wire.cancel_batch),
        ("GET", f"{batch}/files", wire.index),
    )
    return [Route(path, answering(authenticate, handle), methods=[method]) for method, path, handle in paths]


class _Files:
    """Answers requests about files, of those who may change their store."""

    def __init__(self, deps: RetrievalDeps, files: StoreFiles):
        self._deps = deps
        self._stores = deps.vector_stores
        self._files = files

    async def create(self, request: Request, caller: Caller) -> Response:
        told = await read_body(request, NewStoreFile)
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        found = await self._files.look_up(caller, [_named(told)])
        await self._files.put(caller, store.id, found, None)
        return _poll(_write(await self._stores.file(caller, store.id, told.file_id)))

    async def index(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        limit = read_limit(request, default=20, most=100)
        found = await self._stores.files(
            caller,
            store.id,
            batch_id=request.path_params.get("batch_id"),
            status=_read_status(request),
            after=request.query_params.get("after"),
            limit=limit + 1,
            order=read_order(request),
        )
        return json_answer(page([_write(each) for each in found], limit))

    async def show(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        file = await self._stores.file(caller, store.id, request.path_params["file_id"])
        return _poll(_write(file))

    async def update(self, request: Request, caller: Caller) -> Response:
        told = await read_body(request, NewAttributes)
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        file = await self._stores.file(caller, store.id, request.path_params["file_id"])
        await self._stores.set_attributes(caller, store.id, file.id, told.attributes or {})
        return json_answer(_write(await self._stores.file(caller, store.id, file.id)))

    async def delete(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        file = await self._stores.file(caller, store.id, request.path_params["file_id"])
        await self._stores.drop_file(caller, store.id, file.id)
        await self._deps.collections.remove(caller.tenant_id, store.id, [file.id])
        return json_answer({"id": file.id, "object": "vector_store.file.deleted", "deleted": True})

    async def content(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        file = await self._stores.file(caller, store.id, request.path_params["file_id"])
        data = [{"type": "text", "text": await self._stores.text(caller, store.id, file.id)}]
        told = {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}
        return json_answer(told)

    async def create_batch(self, request: Request, caller: Caller) -> Response:
        told = await read_body(request, NewBatch)
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        found = await self._files.look_up(caller, _named_in(told))
        batch_id = new_id("vsfb")
        await self._files.put(caller, store.id, found, batch_id)
        return await self._batch(caller, store.id, batch_id)

    async def show_batch(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        return await self._batch(caller, store.id, request.path_params["batch_id"])

    async def cancel_batch(self, request: Request, caller: Caller) -> Response:
        store = await self._stores.require_own(caller, request.path_params["store_id"])
        await self._stores.cancel(caller, store.id, request.path_params["batch_id"])
        return await self._batch(caller, store.id, request.path_params["batch_id"])

    async def _batch(self, caller: Caller, store_id: str, batch_id: str) -> Response:
        batch = await self._stores.batch(caller, store_id, batch_id)
        return _poll(_write_batch(batch, store_id, batch_id))


def _named(told: NewStoreFile) -> Named:
    _refuse_chunking(told.chunking_strategy)
    return told.file_id, told.attributes or {}, told.backstay.principals


def _named_in(told: NewBatch) -> list[Named]:
    _refuse_chunking(told.chunking_strategy)
    if (told.file_ids is None) == (told.files is None):
        raise InvalidRequest("Name the files of a batch by `file_ids` or by `files`.", param="file_ids")
    if told.files is not None:
        if told.attributes is not None:
            raise InvalidRequest("With `files`, each has attributes of its own.", param="attributes")
        return [_named(each) for each in told.files]
    return [(file_id, told.attributes or {}, None) for file_id in told.file_ids or ()]


def _refuse_chunking(told: Chunked | None) -> None:
    if told is not None and told.type != "auto":
        raise InvalidRequest(
            "A vector store cuts all its files alike: say how when it is made.", param="chunking_strategy"
        )


def _read_status(request: Request) -> Status | None:
    """Read ``filter``. Raises ``InvalidRequest``."""
    told = request.query_params.get("filter")
    if told is None:
        return None
    for status in get_args(Status):
        if told == status:
            return status
    raise InvalidRequest(f"filter must be one of {', '.join(get_args(Status))}.", param="filter")


def _poll(value: Any) -> Response:
    return Response(msgspec.json.encode(value), headers=_POLL, media_type="application/json")


def _write(file: VectorFile) -> dict[str, Any]:
    error = None if file.error is None else {"code": file.error_code, "message": file.error}
    return {
        "id": file.id,
        "object": "vector_store.file",
        "usage_bytes": file.size_bytes if file.status == "completed" else 0,
        "created_at": int(file.created_at.timestamp()),
        "vector_store_id": file.vector_store_id,
        "status": file.status,
        "last_error": error,
        "chunking_strategy": {"type": "other"},
        "attributes": file.attributes,
    }


def _write_batch(batch: FileBatch, store_id: str, batch_id: str) -> dict[str, Any]:
    counts = {name: getattr(batch, name) for name in ("in_progress", "completed", "failed", "cancelled")}
    status = "in_progress" if batch.in_progress else "cancelled" if batch.cancelled else "completed"
    return {
        "id": batch_id,
        "object": "vector_store.files_batch",
        "created_at": 0 if batch.created_at is None else int(batch.created_at.timestamp()),
        "vector_store_id": store_id,
        "status": status,
        "file_counts": {**counts, "total": sum(counts.values())},
    }
