"""Owns pairs of the cache's questions on the API: which answer a correction is about, and how a pair is shown."""

import msgspec

from backstay.api.shapes import CacheCorrection, CachePair
from backstay.cache.pairs import Pair, Wrong
from backstay.core.errors import InvalidRequest, NotFound
from backstay.tracing import StoredSpan
from backstay.tracing.views import Trace


def pair_row(pair: Pair) -> CachePair:
    """Show a pair; ``a`` and ``b`` are what a calibration file has."""
    return CachePair(
        a=pair.kept,
        b=pair.asked,
        **{name: getattr(pair, name) for name in CachePair.__struct_fields__ if name not in ("a", "b")},
    )


def find_wrong(trace: Trace, said: CacheCorrection) -> Wrong:
    """Find the answer that somebody says was wrong.

    Raises:
        NotFound: The trace has no such call.
        InvalidRequest: It has several, and none is named.
    """
    call = _find_call(trace, said.call)
    known = call.attributes
    return Wrong(
        trace_id=trace.trace_id,
        origin_id=str(known.get("backstay.cache.trace_id") or trace.trace_id),
        model=call.model or "",
        feature=call.feature,
        kept=_text(known.get("backstay.cache.question")),
        asked=_text(known.get("backstay.cache.asked")),
    )


def _find_call(trace: Trace, span_id: str | None) -> StoredSpan:
    calls = [span for span in trace.spans if span.kind == "call" and not span.attributes.get("backstay.cache.shadow")]
    if span_id is not None:
        calls = [span for span in calls if span.span_id == span_id]
    if not calls:
        raise NotFound(f"Trace {trace.trace_id} has no such call.")
    if len(calls) > 1:
        raise InvalidRequest("The trace has several calls: say which one, by its span's id.", param="call")
    return calls[0]


def _text(value: object) -> str | None:
    return msgspec.convert(value, str | None)
