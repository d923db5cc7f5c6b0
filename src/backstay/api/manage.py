"""Owns Backstay's own HTTP API: keys, people, the audit log, traces, costs, the catalog of models, routes."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from backstay.access import AuditLog, Keys, People, Sessions
from backstay.access.types import CreatedKey, Invitation, Key, LoginLink, NewKey, Person
from backstay.api.alerts import ALERT_ENDPOINTS, AlertDeps
from backstay.api.answers import call_row, cost_group, cost_total, model_view, moment, trace_tree
from backstay.api.auth import Authenticate
from backstay.api.bill_shapes import Bill, Reconciliation
from backstay.api.budgets import BUDGET_ENDPOINTS, BudgetDeps
from backstay.api.cost_shapes import (
    DearestCalls,
    DearestQuery,
    ExportQuery,
    Invoice,
    InvoiceQuery,
    SavingsQuery,
    SavingsReport,
    WasteQuery,
    WasteReport,
    WhatIf,
    WhatIfQuery,
)
from backstay.api.costs import dearest, export, invoice, waste
from backstay.api.crawls import CRAWL_ENDPOINTS
from backstay.api.endpoint import Asked, Endpoint, Nothing, build_routes, get, post, within
from backstay.api.filters import call_filter, own_key
from backstay.api.ingests import INGEST_ENDPOINTS
from backstay.api.migrations import MIGRATION_ENDPOINTS
from backstay.api.openapi import openapi_document
from backstay.api.pairs import find_wrong, pair_row
from backstay.api.quality import QUALITY_ENDPOINTS
from backstay.api.reconcile import reconcile
from backstay.api.retrieval import RETRIEVAL_ENDPOINTS, RetrievalDeps
from backstay.api.routes import route_target, routes_view
from backstay.api.shapes import (
    AuditList,
    AuditQuery,
    CacheCorrection,
    CachePairQuery,
    CachePairs,
    CachePurge,
    CacheQuery,
    CacheReport,
    CacheRow,
    CallList,
    CallPageQuery,
    CallQuery,
    CallRow,
    Catalog,
    CostQuery,
    CostReport,
    KeyList,
    KeyQuery,
    PersonList,
    Purged,
    Rotation,
    Routes,
    RouteTarget,
    SignedOut,
    TraceView,
    WebhookSecret,
)
from backstay.api.watch import WATCH_ENDPOINTS, WatchDeps
from backstay.api.what_if import Prices, savings, what_if
from backstay.cache import Cache, Purge
from backstay.core.caller import Caller
from backstay.core.currencies import Currencies
from backstay.core.errors import (
    BackstayError,
    Conflict,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unauthenticated,
    UnknownModel,
)
from backstay.core.money import usd
from backstay.gateway import RouteBoard
from backstay.jobs import Later, WebhookSecrets
from backstay.jobs.views import LaterView, view_call
from backstay.ledger import LedgerStore
from backstay.ledger.export import LedgerExport
from backstay.ledger.traffic import Traffic
from backstay.store import Database
from backstay.tracing import CallFilter, CallReading, StoredSpan, TraceStore

Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)
R = TypeVar("R")

_COST_ROWS = 1_000
_HEARTBEAT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class ManageDeps:
    """What the API shows and changes, handed in by the composition root."""

    authenticate: Authenticate
    keys: Keys
    people: People
    sessions: Sessions
    audit: AuditLog
    database: Database
    traces: TraceStore
    ledger: LedgerStore
    export: LedgerExport
    traffic: Traffic
    prices: Prices
    cache: Cache
    budget: BudgetDeps
    currencies: Callable[[], Currencies]
    """Gives those of the policy in force."""
    watch: WatchDeps
    alerts: AlertDeps
    retrieval: RetrievalDeps
    later: Later
    webhooks: WebhookSecrets
    catalog: Callable[[Caller], Awaitable[Sequence[Any]]]
    """Describes the models that a caller may use, with what ``ModelView`` has."""
    routes: RouteBoard
    read_call: Callable[[StoredSpan], CallReading]
    """Reads what a call's root span holds of its input and output into neutral form."""


def routes(deps: ManageDeps) -> list[Route]:
    """Build the routes of the API, its own document among them."""

    @cache  # made when it is first asked for: not every worker is
    def document() -> bytes:
        return msgspec.json.encode(openapi_document(ENDPOINTS))

    async def openapi(request: Request) -> Response:
        return Response(document(), media_type="application/json", headers={"cache-control": "public, max-age=300"})

    return [*build_routes(ENDPOINTS, deps, deps.authenticate), Route("/openapi.json", openapi)]


async def list_keys(deps: ManageDeps, asked: Asked[KeyQuery, Nothing]) -> KeyList:
    limit = asked.query.limit
    found = await deps.keys.list(asked.caller, limit=limit + 1, before=asked.query.before)
    return KeyList(keys=found[:limit], next=found[limit - 1].id if len(found) > limit else None)


async def create_key(deps: ManageDeps, asked: Asked[Nothing, NewKey]) -> CreatedKey:
    return await deps.keys.create(asked.caller, asked.body)


async def revoke_key(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> Key:
    return await deps.keys.revoke(asked.caller, asked.path("key_id"))


async def rotate_key(deps: ManageDeps, asked: Asked[Nothing, Rotation]) -> CreatedKey:
    return await deps.keys.rotate(asked.caller, asked.path("key_id"), grace_s=asked.body.grace_s)


async def list_people(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> PersonList:
    return PersonList(people=await deps.people.list(asked.caller))


async def invite(deps: ManageDeps, asked: Asked[Nothing, Invitation]) -> LoginLink:
    body = asked.body
    return await deps.people.invite(asked.caller, body.email, body.role, base_url=asked.base_url)


async def link(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> LoginLink:
    return await deps.people.link(asked.caller, asked.path("person_id"), base_url=asked.base_url)


async def disable(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> Person:
    return await deps.people.disable(asked.caller, asked.path("person_id"))


async def enable(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> Person:
    return await deps.people.enable(asked.caller, asked.path("person_id"))


async def sign_out(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> SignedOut:
    return SignedOut(sessions=await deps.sessions.end_all(asked.caller, asked.path("person_id")))


async def list_audit(deps: ManageDeps, asked: Asked[AuditQuery, Nothing]) -> AuditList:
    query = asked.query
    found = await deps.audit.list(
        asked.caller, limit=query.limit + 1, before=query.before, action=query.action, subject=query.subject
    )
    page = found[: query.limit]
    return AuditList(records=page, next=page[-1].id if len(found) > query.limit else None)


async def list_traces(deps: ManageDeps, asked: Asked[CallPageQuery, Nothing]) -> CallList:
    wanted = call_filter(asked.caller, asked.query)
    page = await deps.traces.list_calls(
        asked.caller.tenant_id, wanted, limit=asked.query.limit, before=asked.query.before
    )
    return CallList(traces=[call_row(call) for call in page.calls], next=page.next)


async def tail_traces(deps: ManageDeps, asked: Asked[CallQuery, Nothing]) -> Response:
    """Stream new calls as server-sent events, until the client goes away or its credential ends."""
    wanted = call_filter(asked.caller, asked.query)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    if asked.request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(_events(deps, asked, wanted), media_type="text/event-stream", headers=headers)


async def show_trace(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> TraceView:
    tenant_id, own = asked.caller.tenant_id, own_key(asked.caller)
    trace = await deps.traces.get_trace(tenant_id, asked.path("trace_id"), key_id=own)
    entries = await deps.ledger.entries(tenant_id, trace.trace_id, key_id=own)
    readings = {span.span_id: deps.read_call(span) for span in trace.spans if span.kind == "call"}
    return TraceView(trace_id=trace.trace_id, spans=trace_tree(trace.spans, entries, readings))


async def costs(deps: ManageDeps, asked: Asked[CostQuery, Nothing]) -> CostReport:
    query, tenant_id = asked.query, asked.caller.tenant_id
    now = dt.datetime.now(dt.UTC)
    by = tuple(dict.fromkeys(query.by))
    window: dict[str, Any] = {
        "since": moment(query.since, now, "since"),
        "until": now if query.until is None else moment(query.until, now, "until"),
        "key_id": own_key(asked.caller),
    }
    rows = await deps.ledger.costs(tenant_id, by=by, limit=_COST_ROWS, **window)
    (total,) = await deps.ledger.costs(tenant_id, **window)
    return CostReport(
        by=by,
        since=window["since"],
        until=window["until"],
        rows=[cost_group(row, by) for row in rows],
        truncated=len(rows) == _COST_ROWS,
        total=cost_total(total),
    )


async def reconcile_bill(deps: ManageDeps, asked: Asked[Nothing, Bill]) -> Reconciliation:
    return await reconcile(deps, asked)


async def catalog(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> Catalog:
    return Catalog(models=[model_view(model) for model in await deps.catalog(asked.caller)])


async def cache_stats(deps: ManageDeps, asked: Asked[CacheQuery, Nothing]) -> CacheReport:
    since = moment(asked.query.since, dt.datetime.now(dt.UTC), "since")
    groups = await deps.cache.stats(asked.caller.tenant_id, since=since.date(), model=asked.query.model)
    rows = [
        CacheRow(
            model=group.model,
            feature=group.feature,
            entries=group.entries,
            size_bytes=group.size_bytes,
            oldest_at=group.oldest_at,
            hits=group.hits,
            semantic_hits=group.semantic_hits,
            misses=group.misses,
            saved_usd=usd(group.saved_nanousd),
        )
        for group in groups
    ]
    off = deps.cache.problems_of(asked.caller.tenant_id)
    return CacheReport(since=since, rows=rows, semantic_off=off)


async def purge_cache(deps: ManageDeps, asked: Asked[Nothing, CachePurge]) -> Purged:
    body, tenant_id = asked.body, asked.caller.tenant_id
    if body.like is not None:
        if body != CachePurge(like=body.like):
            raise InvalidRequest("`like` stands alone: leave the other conditions out.", param="like")
        return Purged(purged=await deps.cache.purge_like(tenant_id, body.like))
    before = None if body.older_than is None else moment(body.older_than, dt.datetime.now(dt.UTC), "older_than")
    purge = Purge(
        tenant_id=tenant_id,
        model=body.model,
        feature=body.feature,
        trace_id=body.trace,
        before_ns=None if before is None else int(before.timestamp() * 1e9),
    )
    return Purged(purged=await deps.cache.purge(purge))


async def list_pairs(deps: ManageDeps, asked: Asked[CachePairQuery, Nothing]) -> CachePairs:
    query = asked.query
    found = await deps.cache.pairs(asked.caller.tenant_id, model=query.model, limit=query.limit)
    return CachePairs(pairs=[pair_row(pair) for pair in found])


async def correct(deps: ManageDeps, asked: Asked[Nothing, CacheCorrection]) -> Purged:
    tenant_id = asked.caller.tenant_id
    trace = await deps.traces.get_trace(tenant_id, asked.body.trace)
    return Purged(purged=await deps.cache.correct(tenant_id, find_wrong(trace, asked.body)))


async def list_routes(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> Routes:
    return routes_view(await deps.routes.show(asked.caller))


async def show_later_call(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> LaterView:
    return view_call(await deps.later.find(asked.caller, asked.path("call_id")))


async def renew_webhook_secret(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> WebhookSecret:
    by = asked.caller
    secret = await deps.webhooks.renew(
        by.tenant_id, lambda connection: deps.audit.note_own(connection, by, "webhooks.secret", by.tenant_id)
    )
    return WebhookSecret(tenant=by.tenant_id, secret=secret)


async def drain_target(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> RouteTarget:
    return route_target(await deps.routes.drain(asked.caller, asked.request.path_params["target"]))


async def undrain_target(deps: ManageDeps, asked: Asked[Nothing, Nothing]) -> RouteTarget:
    return route_target(await deps.routes.undrain(asked.caller, asked.request.path_params["target"]))


async def _events(deps: ManageDeps, asked: Asked[CallQuery, Nothing], wanted: CallFilter) -> AsyncIterator[bytes]:
    yield b": listening\n\n"
    try:
        async for calls in deps.traces.tail(asked.caller.tenant_id, wanted, heartbeat_s=_HEARTBEAT_S):
            await deps.authenticate(dict(asked.request.headers.raw))
            yield b"".join(b"data: %b\n\n" % msgspec.json.encode(call_row(call)) for call in calls) or b": alive\n\n"
    except Unauthenticated:
        yield b": this credential has ended\n\n"
    except BackstayError:
        yield b": interrupted, connect again\n\n"


_NO_SUCH = (NotFound,)
_NOT_NOW = (NotFound, Conflict)


ENDPOINTS: tuple[Endpoint[ManageDeps, Any, Any], ...] = (
    get("/v1/keys", "List keys, without their secrets", list_keys, answer=KeyList, query=KeyQuery, right="admin"),
    post(
        "/v1/keys", "Make a key; its text is shown this once", create_key,
        answer=CreatedKey, body=NewKey, right="admin", status=201,
    ),
    post(
        "/v1/keys/{key_id}/revoke", "Refuse a key from now on", revoke_key,
        answer=Key, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    post(
        "/v1/keys/{key_id}/rotate", "Make a key in another's place; the old one works for a while longer", rotate_key,
        answer=CreatedKey, body=Rotation, right="admin", status=201, errors=_NOT_NOW,
    ),
    get("/v1/people", "List the people of the tenant", list_people, answer=PersonList, query=Nothing, right="admin"),
    post(
        "/v1/people", "Make an account, and a link that signs in once", invite,
        answer=LoginLink, body=Invitation, right="admin", status=201, errors=(Conflict,),
    ),
    post(
        "/v1/people/{person_id}/link", "Make a link that signs a person in once", link,
        answer=LoginLink, body=Nothing, right="admin", status=201, errors=_NOT_NOW,
    ),
    post(
        "/v1/people/{person_id}/disable", "Shut a person out at once", disable,
        answer=Person, body=Nothing, right="admin", errors=_NOT_NOW,
    ),
    post(
        "/v1/people/{person_id}/enable", "Let a person in again", enable,
        answer=Person, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    post(
        "/v1/people/{person_id}/sign-out", "End all sessions of a person", sign_out,
        answer=SignedOut, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    get(
        "/v1/audit", "List what people, admin keys and the operator did", list_audit,
        answer=AuditList, query=AuditQuery, right="admin",
    ),
    get("/v1/traces", "List calls, the newest first", list_traces, answer=CallList, query=CallPageQuery, right="read"),
    get(
        "/v1/traces/tail", "Follow new calls: server-sent events, each with one call as JSON", tail_traces,
        answer=CallRow, query=CallQuery, right="read", media_type="text/event-stream",
    ),
    get(
        "/v1/traces/{trace_id}", "Show one trace, by its id or the first 8 or more characters of it", show_trace,
        answer=TraceView, query=Nothing, right="read", errors=_NO_SUCH,
    ),
    get(
        "/v1/costs", "Add up costs by user, feature, model and more", costs,
        answer=CostReport, query=CostQuery, right="read",
    ),
    *within(lambda deps: deps.budget, BUDGET_ENDPOINTS),
    post(
        "/v1/costs/reconcile", "Compare the ledger with a vendor's bill, by day and model, with likely causes",
        reconcile_bill, answer=Reconciliation, body=Bill, right="admin", errors=(Conflict,),
    ),
    get(
        "/v1/costs/requests", "List the calls that cost most", dearest,
        answer=DearestCalls, query=DearestQuery, right="read",
    ),
    get(
        "/v1/costs/waste", "Add up attempts whose answer nobody has, and what caches saved", waste,
        answer=WasteReport, query=WasteQuery, right="read",
    ),
    get(
        "/v1/costs/what-if", "Price past traffic at another model's prices, in batches, with cached prompts", what_if,
        answer=WhatIf, query=WhatIfQuery, right="read", errors=(UnknownModel, Overloaded),
    ),
    get(
        "/v1/costs/savings", "List what could have been saved on past traffic, the largest first", savings,
        answer=SavingsReport, query=SavingsQuery, right="read", errors=(Overloaded,),
    ),
    *within(lambda deps: deps.watch, WATCH_ENDPOINTS),
    get(
        "/v1/costs/export", "Stream ledger entries as CSV, FOCUS 1.2 or Parquet", export,
        answer=str, query=ExportQuery, right="read", errors=(Overloaded,), media_type="text/csv",
        other_media_types=("application/vnd.apache.parquet", "application/gzip"),
    ),
    get(
        "/v1/costs/invoice", "Write a month's invoice of the tenant", invoice,
        answer=Invoice, query=InvoiceQuery, right="admin",
    ),
    get(
        "/v1/cache", "Show which answers are kept and what they saved, by model and feature", cache_stats,
        answer=CacheReport, query=CacheQuery, right="admin",
    ),
    post(
        "/v1/cache/purge", "Let go of kept answers, on every worker", purge_cache,
        answer=Purged, body=CachePurge, right="admin",
    ),
    get(
        "/v1/cache/pairs", "List pairs of questions, and whether they may share an answer", list_pairs,
        answer=CachePairs, query=CachePairQuery, right="admin",
    ),
    post(
        "/v1/cache/corrections", "Say that an answer was wrong: it goes, and its questions are a pair", correct,
        answer=Purged, body=CacheCorrection, right="admin", errors=_NO_SUCH,
    ),
    get(
        "/v1/async/{call_id}", "Show a call that is made later, with its answer once there is one", show_later_call,
        answer=LaterView, query=Nothing, right="call", errors=_NO_SUCH,
    ),
    post(
        "/v1/webhooks/secret", "Make the secret that the tenant's webhooks are signed with", renew_webhook_secret,
        answer=WebhookSecret, body=Nothing, right="admin", status=201,
    ),
    get(
        "/v1/catalog", "List the models that the caller may use, with targets and prices", catalog,
        answer=Catalog, query=Nothing, right=None,
    ),
    get(
        "/v1/routes", "List the models that the caller may use, and how their targets stand", list_routes,
        answer=Routes, query=Nothing, right="read",
    ),
    post(
        "/v1/routes/{target:path}/drain", "Send no more calls to a target", drain_target,
        answer=RouteTarget, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    post(
        "/v1/routes/{target:path}/undrain", "Put a target in use again", undrain_target,
        answer=RouteTarget, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    *within(lambda deps: deps.alerts, ALERT_ENDPOINTS),
    *within(lambda deps: deps.retrieval, RETRIEVAL_ENDPOINTS),
    *within(lambda deps: deps.retrieval.ingesting, INGEST_ENDPOINTS),
    *within(lambda deps: deps.retrieval.crawling, CRAWL_ENDPOINTS),
    *within(lambda deps: deps.retrieval.migration, MIGRATION_ENDPOINTS),
    *within(lambda deps: deps.retrieval.quality, QUALITY_ENDPOINTS),
)  # fmt: skip
"""Everything that the API serves; its document is made from the same."""
