"""Owns ingests on Backstay's own API: files that are sent and addresses that are named, taken in by who runs jobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request

from backstay.access import AuditLog
from backstay.api.bodies import announced_bytes
from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post, put
from backstay.core.errors import Conflict, InvalidRequest, NotFound, Overloaded, RequestTooLarge
from backstay.retrieval import RetrievalStore
from backstay.retrieval.ingest_store import IngestStore, IngestView, ItemView
from backstay.retrieval.ingests import Ingests
from backstay.retrieval.parsing import MOST_BYTES
from backstay.retrieval.types import ExternalId, Principals
from backstay.store import Database

_GRACE_S = 30.0
_SLOWEST_BYTES_PER_S = 64 * 1024

Url = Annotated[str, Meta(min_length=8, max_length=2048, pattern=r"^https?://[\x21-\x7e]+$")]


_NAME = r"[^\s,\u0000-\u001f\u007f]{1,200}"
Listed = Annotated[str, Meta(min_length=1, max_length=3000, pattern=f"^{_NAME}(,{_NAME}){{0,14}}$")]


class IngestDeps:
    """What these endpoints use."""

    def __init__(self, database: Database, store: RetrievalStore):
        self.ingests = Ingests(IngestStore(database), store)
        self.database = database
        self.audit = AuditLog(database)


class NewIngest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be taken in, and who may read it."""

    urls: Annotated[list[Url], Meta(max_length=1000)] = []
    """Addresses that are fetched; their documents' external ids."""
    principals: Principals | None = None
    metadata: dict[str, Any] = {}
    """Of each of the documents."""
    is_open: bool = False
    """Whether files are sent to it until it is closed. One without addresses is open."""


class FileQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file is called; the end of its name says its format."""

    external_id: ExternalId
    content_hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The sender's own hash, by which it knows the file again; left out: that of its bytes."""


class OneFileQuery(FileQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file by itself."""

    principals: Listed | None = None
    """Who may read it, between commas, without blanks; left out: everybody. Empty is refused: it says neither."""


class ItemsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which items of an ingest to list."""

    state: (
        Literal["writing", "waiting", "running", "added", "changed", "unchanged", "unreadable", "failed", "cancelled"]
        | None
    ) = None
    after: Annotated[str, Meta(max_length=1000)] = ""
    """The last external id of the page before."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class CloseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing more comes."""

    cancel: bool = False
    """Nor is what waits wanted any more."""


class IngestShown(msgspec.Struct, frozen=True, kw_only=True):
    """An ingest."""

    ingest: IngestView
    is_served: bool
    """Whether a process that runs jobs was heard of: without one, nothing is taken in."""


class IngestList(msgspec.Struct, frozen=True, kw_only=True):
    """Ingests, the newest first."""

    ingests: list[IngestView]


class ItemList(msgspec.Struct, frozen=True, kw_only=True):
    """Items by their external ids."""

    items: list[ItemView]
    next: str | None
    """``after`` of the next page; ``None``: this is the last."""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The file is there whole, to be read."""

    external_id: str


async def begin_ingest(deps: IngestDeps, asked: Asked[Nothing, NewIngest]) -> IngestShown:
    told, name = asked.body, asked.path("collection")
    ingest_id = await deps.ingests.begin(
        asked.caller, name, urls=told.urls, principals=told.principals, metadata=told.metadata
    )
    if told.urls and not told.is_open:
        await deps.ingests.close(asked.caller.tenant_id, ingest_id)
    await _note(deps, asked, "collection.ingest", name, ingest=ingest_id, urls=len(told.urls))
    return await _show(deps, asked.caller.tenant_id, ingest_id)


async def send_file(deps: IngestDeps, asked: Asked[FileQuery, Nothing]) -> Received:
    query = asked.query
    await _receive(deps, asked.request, asked.caller.tenant_id, asked.path("ingest"), query)
    return Received(external_id=query.external_id)


async def send_one_file(deps: IngestDeps, asked: Asked[OneFileQuery, Nothing]) -> IngestShown:
    tenant_id, query, name = asked.caller.tenant_id, asked.query, asked.path("collection")
    announced_bytes(dict(asked.request.headers.raw), MOST_BYTES)
    principals = None if query.principals is None else query.principals.split(",")
    ingest_id = await deps.ingests.begin(asked.caller, name, principals=principals)
    try:
        await _receive(deps, asked.request, tenant_id, ingest_id, query)
    finally:
        await deps.ingests.close(tenant_id, ingest_id)
    await _note(deps, asked, "collection.ingest", name, ingest=ingest_id)
    return await _show(deps, tenant_id, ingest_id)


async def close_ingest(deps: IngestDeps, asked: Asked[Nothing, CloseBody]) -> IngestShown:
    ingest_id = asked.path("ingest")
    await deps.ingests.close(asked.caller.tenant_id, ingest_id, cancel=asked.body.cancel)
    return await _show(deps, asked.caller.tenant_id, ingest_id)


async def show_ingest(deps: IngestDeps, asked: Asked[Nothing, Nothing]) -> IngestShown:
    return await _show(deps, asked.caller.tenant_id, asked.path("ingest"))


async def list_ingests(deps: IngestDeps, asked: Asked[Nothing, Nothing]) -> IngestList:
    return IngestList(ingests=await deps.ingests.all(asked.caller.tenant_id, asked.path("collection")))


async def list_items(deps: IngestDeps, asked: Asked[ItemsQuery, Nothing]) -> ItemList:
    query = asked.query
    states = None if query.state is None else [query.state]
    found = await deps.ingests.items(
        asked.caller.tenant_id, asked.path("ingest"), states=states, after=query.after, limit=query.limit + 1
    )
    page = found[: query.limit]
    return ItemList(items=page, next=page[-1].external_id if len(found) > query.limit else None)


async def _show(deps: IngestDeps, tenant_id: str, ingest_id: str) -> IngestShown:
    ingest, is_served = await deps.ingests.show(tenant_id, ingest_id)
    return IngestShown(ingest=ingest, is_served=is_served)


async def _receive(deps: IngestDeps, request: Request, tenant_id: str, ingest_id: str, query: FileQuery) -> None:
    """Take a body in as a file, so fast at least that it holds nothing up."""
    announced_bytes(dict(request.headers.raw), MOST_BYTES)
    try:
        async with asyncio.timeout(_GRACE_S + MOST_BYTES / _SLOWEST_BYTES_PER_S):
            await deps.ingests.receive(
                tenant_id, ingest_id, query.external_id, _pieces(request), told_hash=query.content_hash
            )
    except TimeoutError:
        raise InvalidRequest("The file came too slowly. Send it faster, or send less.") from None


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise InvalidRequest("The caller went away before the file was complete.") from None


async def _note(deps: IngestDeps, asked: Asked[Any, Any], action: str, subject: str, **detail: Any) -> None:
    async with deps.database.system() as connection:
        await deps.audit.note_own(connection, asked.caller, action, subject, **detail)


_NO_SUCH = (NotFound,)
_SENT = (NotFound, Conflict, RequestTooLarge, Overloaded)

INGEST_ENDPOINTS: tuple[Endpoint[IngestDeps, Any, Any], ...] = (
    put(
        "/v1/collections/{collection}/files", "Send one file, to be read and kept", send_one_file,
        answer=IngestShown, query=OneFileQuery, right="admin", status=201, errors=_SENT,
    ),
    get("/v1/collections/{collection}/ingests", "List what was taken in of late", list_ingests,
        answer=IngestList, query=Nothing, right="read", errors=_NO_SUCH),
    post(
        "/v1/collections/{collection}/ingests", "Begin an ingest, of addresses or of files that are sent", begin_ingest,
        answer=IngestShown, body=NewIngest, right="admin", status=201, errors=_NO_SUCH, most_bytes=4 * 1024 * 1024,
    ),
    get("/v1/ingests/{ingest}", "Show how far an ingest is", show_ingest,
        answer=IngestShown, query=Nothing, right="read", errors=_NO_SUCH),
    put(
        "/v1/ingests/{ingest}/files", "Send a file to an open ingest", send_file,
        answer=Received, query=FileQuery, right="admin", errors=_SENT,
    ),
    get("/v1/ingests/{ingest}/items", "List what became of each file", list_items,
        answer=ItemList, query=ItemsQuery, right="admin", errors=_NO_SUCH),
    post(
        "/v1/ingests/{ingest}/close", "Say that nothing more comes, or is wanted", close_ingest,
        answer=IngestShown, body=CloseBody, right="admin", errors=_NO_SUCH,
    ),
)  # fmt: skip
