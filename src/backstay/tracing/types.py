"""Owns the nouns of tracing: a span, and what a call leaves of itself."""

from typing import Any, Literal

import msgspec

from backstay.core.money import NanoUSD

SpanStatus = Literal["ok", "error", "cancelled", "interrupted"]
"""``cancelled``: the caller went away. ``interrupted``: the worker died in the middle; the outcome is unknown."""

BATCH_ID = "backstay.batch.id"
"""Attribute of a call: the batch whose line it was made for. Migration 0022 has an index of it."""


class Span(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One span. What lists filter by are fields, but the batch; everything else is in ``attributes``, by its
    OpenTelemetry name.

    Times: ``started_at_ns`` since the Unix epoch (UTC), durations in nanoseconds.
    """

    span_id: str
    trace_id: str
    parent_id: str | None = None
    kind: Literal["call", "attempt"]
    name: str
    started_at_ns: int
    duration_ns: int
    status: SpanStatus
    error_code: str | None = None
    error_message: str | None = None
    operation: str | None = None
    model: str | None = None
    target: str | None = None
    key_id: str | None = None
    user_id: str | None = None
    feature: str | None = None
    tags: tuple[str, ...] = ()
    http_status: int | None = None
    stream: bool | None = None
    first_token_ns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nanousd: NanoUSD | None = None
    attributes: dict[str, Any] = {}
    input_dialect: str | None = None
    output_dialect: str | None = None

    @property
    def counted_model(self) -> str | None:
        """The model that sums and metrics know the call by; ``None`` where it failed before it reached a target.

        Callers may write anything there, and sums must not grow by each word. The same stands in SQL (migration 0003).
        """
        return self.model if self.status != "error" or self.target is not None else None
