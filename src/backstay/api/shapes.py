"""Owns the shapes of Backstay's own API: query parameters, bodies and answers."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from backstay.access.checks import Id, Label, Name
from backstay.access.types import AuditRecord, Instant, Key, Person
from backstay.core.chat import Choice, Message, Tool
from backstay.core.routing import OnBrokenStream, Strategy
from backstay.health.breaker import BreakerState, Cause
from backstay.health.summary import Standing
from backstay.ledger import Dimension
from backstay.tracing import SpanStatus

Cursor = Annotated[
    str,
    Meta(
        min_length=1,
        description="Where to go on: `next` of the page before.",
        extra_json_schema={"pattern": "^[0-9]{1,17}-[0-9a-f]{16}$"},
    ),
]

_SPAN = "^[0-9]{1,4}[mhd]$"

Moment = Annotated[
    str,
    Meta(
        max_length=40,
        description="A time back from now such as 15m, 24h or 7d, a date (UTC), or RFC 3339 with its zone.",
        extra_json_schema={"anyOf": [{"pattern": _SPAN}, {"format": "date"}, {"format": "date-time"}]},
    ),
]
"""A moment as people write it."""

ExactUSD = Annotated[str, Meta(description="US dollars, an exact decimal.", examples=["0.000412"])]


class KeyQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    before: Id | None = None


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """Keys, the newest first, without their secrets."""

    keys: list[Key]
    next: str | None


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    grace_s: Annotated[
        int, Meta(ge=0, le=30 * 86_400, description="Seconds for which the old key goes on working.")
    ] = 86_400


class PersonList(msgspec.Struct, frozen=True, kw_only=True):
    people: list[Person]


class SignedOut(msgspec.Struct, frozen=True, kw_only=True):
    """How many open sessions were ended."""

    sessions: int


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    before: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    action: Label | None = None
    subject: Label | None = None


class AuditList(msgspec.Struct, frozen=True, kw_only=True):
    """Acts, the newest first."""

    records: list[AuditRecord]
    next: int | None


class CallQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls are wanted. Calls meet every condition given."""

    since: Moment | None = None
    until: Moment | None = None
    model: Name | None = None
    target: Name | None = None
    tried: Annotated[Name, Meta(description="A target that was tried, also if another one answered.")] | None = None
    user: Label | None = None
    feature: Label | None = None
    tag: Label | None = None
    key: Id | None = None
    batch: Annotated[Id, Meta(description="A batch whose lines the calls were made for.")] | None = None
    status: SpanStatus | None = None
    q: Annotated[Label, Meta(description="Text in messages, answers or errors, or how an id begins.")] | None = None


class CallPageQuery(CallQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    before: Cursor | None = None


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call. ``null`` stands for what is not known; an unknown cost is never 0."""

    trace_id: str
    call_id: str
    operation: str | None
    model: str | None
    target: str | None
    status: SpanStatus
    error_code: str | None
    error_message: str | None
    http_status: int | None
    stream: bool | None
    started_at: Instant
    duration_ms: float
    first_token_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: ExactUSD | None
    user: str | None
    feature: str | None
    tags: tuple[str, ...]
    key_id: str | None


class CallList(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, the newest first."""

    traces: list[CallRow]
    next: str | None


class CostItem(msgspec.Struct, frozen=True, kw_only=True):
    unit: str
    quantity: int
    usd_per_million: ExactUSD
    amount_usd: ExactUSD


class AttemptCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt cost, line by line."""

    attempt: int
    target: str
    cost_usd: ExactUSD | None
    estimated: bool
    unconfirmed: bool
    price_source: str | None
    lines: list[CostItem]


class CallInput(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent: in neutral form, and as it went over the wire. A note says why something is missing."""

    dialect: str | None
    messages: tuple[Message, ...] | None
    tools: tuple[Tool, ...] | None
    parameters: dict[str, Any]
    note: str | None
    raw: str | None


class CallOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered: in neutral form, and as it went over the wire."""

    dialect: str | None
    choices: tuple[Choice, ...] | None
    note: str | None
    raw: str | None


class SpanView(CallRow, frozen=True, kw_only=True):
    """One span of a trace, with those below it."""

    span_id: str
    parent_id: str | None
    kind: str
    name: str
    attributes: dict[str, Any]
    """By their OpenTelemetry names."""
    costs: list[AttemptCost]
    input: CallInput | None
    output: CallOutput | None
    children: list["SpanView"]


class TraceView(msgspec.Struct, frozen=True, kw_only=True):
    """One trace as a tree: calls, and below each its attempts."""

    trace_id: str
    spans: list[SpanView]


class CostQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    by: Annotated[tuple[Dimension, ...], Meta(min_length=1, max_length=8, description="Dimensions between commas.")] = (
        "user",
        "feature",
        "model",
    )
    since: Moment = "7d"
    until: Moment | None = None


class CostFigures(msgspec.Struct, frozen=True, kw_only=True):
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: ExactUSD
    """The sum of what is known."""
    unknown_cost_calls: int
    """Calls of unknown cost, which the sum leaves out."""
    estimated_attempts: int
    """Attempts whose usage the provider did not tell: their cost is estimated from what was received."""
    unconfirmed_attempts: int
    """Attempts of which nobody knows whether they were billed: their worker died."""


class CostGroup(CostFigures, frozen=True, kw_only=True):
    """What one group of calls cost. It has the dimensions that were asked for; ``null`` where the calls have none."""

    user: str | UnsetType | None = UNSET
    feature: str | UnsetType | None = UNSET
    model: str | UnsetType | None = UNSET
    target: str | UnsetType | None = UNSET
    key: str | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET
    day: Instant | UnsetType | None = UNSET
    hour: Instant | UnsetType | None = UNSET


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    """Costs by dimensions, the most expensive group first; ``truncated`` where there are more groups than rows."""

    by: tuple[Dimension, ...]
    since: Instant
    until: Instant
    rows: list[CostGroup]
    truncated: bool
    total: CostFigures


class TargetView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model's calls go, whether it can answer, and what it charges."""

    name: str
    dialect: str
    problem: str | None
    """Why it cannot answer now; ``null`` where nothing is known to be wrong."""
    free: bool
    prices: dict[str, str] | None
    """US dollars per million by unit; ``null`` where no price is known."""
    price_source: str | None


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    targets: list[TargetView]
    collection: str | None
    """The collection of documents that answers, instead of targets."""


class CacheQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: Name | None = None
    since: Annotated[Moment, Meta(description="From which day on hits are counted.")] = "7d"


class CacheRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one model and feature now, and how often it helped."""

    model: str
    feature: str | None
    entries: int
    size_bytes: int
    oldest_at: Instant | None
    hits: int
    semantic_hits: int
    misses: int
    saved_usd: ExactUSD
    """What the hits would have cost; those of unknown cost are left out."""


class CacheReport(msgspec.Struct, frozen=True, kw_only=True):
    """By model and feature, those that saved most first."""

    since: Instant
    rows: list[CacheRow]
    semantic_off: dict[str, str]
    """Models whose semantic cache is wanted and off for the tenant, and why."""


class CachePurge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answers are to go. They meet every condition; without any, all of the tenant's go."""

    model: Name | None = None
    feature: Label | None = None
    trace: Id | None = None
    """Of the call that the model answered: its whole trace id."""
    older_than: Moment | None = None
    like: (
        Annotated[str, Meta(min_length=1, max_length=1000, description="Only those to questions near this one.")] | None
    ) = None


class CachePairQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


class CachePair(msgspec.Struct, frozen=True, kw_only=True):
    """A kept question `a`, a question `b` that had its answer, and whether it should have had."""

    id: str
    a: str
    b: str
    same: bool | None
    """`null`: it could not be told."""
    source: Literal["shadow", "correction"]
    """`shadow`: the model was asked too, and the answers were compared. `correction`: somebody said it was wrong."""
    similarity: float | None
    """Cosine of the two answers."""
    model: str
    feature: str | None
    trace_id: str
    created_at: Instant


class CachePairs(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first."""

    pairs: list[CachePair]


class CacheCorrection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which answer was wrong."""

    trace: Annotated[
        str, Meta(pattern="^[0-9a-fA-F]{8,32}$", description="Of the call that had it: its id, or the start of it.")
    ]
    call: Id | None = None
    """Where the trace has several calls: the span's id of the one."""


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """How many answers are gone."""

    purged: int


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """The models that the caller may use."""

    models: list[ModelView]


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """Who took a target out of use, and when."""

    by: str
    at: Instant


class TargetError(msgspec.Struct, frozen=True, kw_only=True):
    fault: str
    """The kind of error, such as `overloaded` or `timeout`."""
    http_status: int | None
    at: Instant


class RateLeft(msgspec.Struct, frozen=True, kw_only=True):
    """What a target allows in a minute, and what is left."""

    limit: float
    left: float


class RouteTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target as all workers see it. Figures are of now, or of the last five minutes; those that tell how much is used
    are `null` for callers who do not run the installation.
    """

    name: str
    models: tuple[str, ...]
    standing: Standing
    """`drained`: taken out of use; `open`: left alone; `checking`: one call at a time finds out whether it is well;
    `slow`: asked last; `limited`: its rate limit is used up; `busy`: has no room; `unknown`: never asked."""
    problem: str | None
    """Why it cannot answer at all; `null` where nothing is known to be wrong."""
    breaker: BreakerState | None
    cause: Cause | None
    ill_since: Instant | None
    free_in_s: float | None
    workers: int
    ill_workers: int
    openings: int
    drained: Drained | None
    last_error: TargetError | None
    first_token_p50_ms: float | None
    """Where nothing was streamed: of the whole answer."""
    first_token_p95_ms: float | None
    error_share: float | None
    traffic_share: float | None
    tries: int | None
    failures: int | None
    in_flight: int | None
    concurrency_limit: int | None
    retries_left: float | None
    requests_per_min: RateLeft | None
    tokens_per_min: RateLeft | None


class RouteModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model: which targets its calls go to, and how that is chosen."""

    name: str
    strategy: Strategy
    sticky: bool
    on_broken_stream: OnBrokenStream
    targets: tuple[str, ...]
    weights: tuple[float, ...]
    degraded_cache_stale: bool
    degraded_target: str | None
    degraded_message: str | None


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """The models that the caller may use, and their targets, each once."""

    models: list[RouteModel]
    targets: list[RouteTarget]


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's secret for webhooks, just made: this is the only time that it can be seen."""

    tenant: str
    secret: str
    """``whsec_…``, as the libraries of Standard Webhooks take it."""
