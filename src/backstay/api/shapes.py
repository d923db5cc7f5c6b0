"""Owns the shapes of Backstay's own API: query parameters, bodies and answers."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from backstay.access.checks import Id, Label, Name
from backstay.access.types import AuditRecord, Instant, Key, Person
from backstay.core.chat import Choice, Message, Tool
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
        description="A time back from now such as 15m, 24h or 7d, or RFC 3339 with its zone.",
        extra_json_schema={"anyOf": [{"pattern": _SPAN}, {"format": "date-time"}]},
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
    user: Label | None = None
    feature: Label | None = None
    tag: Label | None = None
    key: Id | None = None
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


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """The models that the caller may use."""

    models: list[ModelView]
