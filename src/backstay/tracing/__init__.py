"""Owns what calls leave behind to be looked at: spans, their search, their words for other tools, and metrics."""

from backstay.tracing.metrics import CallMetrics
from backstay.tracing.otel import attributes
from backstay.tracing.reading import CallReading, read_call
from backstay.tracing.store import MERGE_SPANS, TraceStore
from backstay.tracing.types import Span, SpanStatus
from backstay.tracing.views import CallFilter, StoredSpan

__all__ = [
    "MERGE_SPANS",
    "CallFilter",
    "CallMetrics",
    "CallReading",
    "Span",
    "SpanStatus",
    "StoredSpan",
    "TraceStore",
    "attributes",
    "read_call",
]
