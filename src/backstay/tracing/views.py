"""Owns what readers of traces get: filters, pages of calls, one trace, and the figures of an overview."""

from datetime import datetime

import msgspec

from backstay.core.money import NanoUSD
from backstay.tracing.types import Span, SpanStatus


class StoredSpan(Span, frozen=True, kw_only=True, omit_defaults=True):
    """A span with the texts of its call, as they went over the wire; ``None`` where none were kept."""

    input: str | None = None
    output: str | None = None


class CallFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which calls are wanted: those that meet every condition that is not ``None``. Times are aware."""

    since: datetime | None = None
    """Included."""
    until: datetime | None = None
    """Not included."""
    model: str | None = None
    target: str | None = None
    """Which target answered last."""
    tried: str | None = None
    """A target that was tried at all, also if another one answered."""
    tried_failed: bool = False
    """With ``tried``: and failed there."""
    user: str | None = None
    feature: str | None = None
    tag: str | None = None
    key_id: str | None = None
    batch_id: str | None = None
    """Calls of this batch's lines, all tries of them."""
    status: SpanStatus | None = None
    statuses: tuple[SpanStatus, ...] | None = None
    """Any of these."""
    without: tuple[str, ...] = ()
    """What they do not name: of ``LABELS``."""
    charged: bool = False
    """They have an entry in the books: of a price, of none that is known, or of nothing. Refused calls and hits of a
    cache have none."""
    charged_by: str | None = None
    """With ``charged``: an entry of this target."""
    unused: str | None = None
    """With ``charged``: an entry whose answer nobody has, for this reason (``ledger.types.Unused``)."""
    trace_id: str | None = None
    q: str | None = None
    """Text that stands, whatever its case, in the input, the output or the error, or begins the trace's or call's id.
    Where ``since`` is ``None``, only the last day before ``until`` is searched."""


ALL_CALLS = CallFilter()

LABELS = ("model", "target", "user", "feature", "tag", "key")
"""What calls are told apart by, and may lack."""


class CallPage(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, the newest first."""

    calls: tuple[Span, ...]
    next: str | None
    """Where the next page begins (``before``); ``None`` on the last one."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of one trace, the earliest first."""

    trace_id: str
    spans: tuple[StoredSpan, ...]


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """The calls beside one in a list; ``None`` at its ends."""

    newer: Span | None
    older: Span | None


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What some calls add up to."""

    calls: int = 0
    errors: int = 0
    """Calls that failed, or whose worker died. A caller who went away is no error."""
    cost_nanousd: NanoUSD = NanoUSD(0)
    """The sum of what is known."""
    unknown_cost_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Figures(Sums, frozen=True, kw_only=True):
    """What some calls add up to, and how long they took: nanoseconds, ``None`` where there was nothing to measure.

    Percentiles are exact where the calls themselves were read. Where sums of hours or days were, they are at most 5 %
    off: those are kept as histograms.
    """

    p50_ns: int | None = None
    p95_ns: int | None = None
    first_token_p95_ns: int | None = None


class Bucket(Figures, frozen=True, kw_only=True):
    """The figures of one stretch of time that begins ``at``; of the first, only from ``since`` on."""

    at: datetime


class ModelFigures(Figures, frozen=True, kw_only=True):
    """The figures of one model on one target. The target is ``None`` where no attempt was made."""

    model: str | None
    target: str | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Figures over time, their total, and the total of as long a time before, to compare with."""

    buckets: tuple[Bucket, ...]
    total: Figures
    previous: Sums


class Facets(msgspec.Struct, frozen=True, kw_only=True):
    """What recent calls can be filtered by, the most frequent first."""

    models: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
