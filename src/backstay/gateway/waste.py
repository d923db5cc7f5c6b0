"""Owns why an attempt's answer was not used, so that reports can say what it cost. Pure."""

from collections.abc import Sequence
from typing import Any, Protocol

from backstay.gateway.tries import Reason
from backstay.ledger.types import Unused
from backstay.tracing import SpanStatus

_LOST_TO: dict[Reason, Unused] = {
    "first": "retry",
    "retry": "retry",
    "restart": "retry",
    "continue": "retry",
    "fallback": "fallback",
    "degraded": "fallback",
    "hedge": "hedge",
}
"""What an attempt was lost to, by why the next one was made."""


class Tried(Protocol):
    """What is known of an attempt once its call is over."""

    @property
    def reason(self) -> Reason: ...
    @property
    def started_ns(self) -> int: ...
    @property
    def status(self) -> SpanStatus: ...
    @property
    def seam(self) -> Any: ...


def why_unused(attempt: Tried, attempts: Sequence[Tried], status: SpanStatus) -> Unused | None:
    """Tell why nobody has this attempt's answer; ``None`` where somebody has it, or a part that another went on from.

    Args:
        attempts: Of the whole call; the one that answered is the last.
        status: How the call ended.
    """
    last = attempts[-1]
    if status == "cancelled":
        return "cancelled"
    if status != "ok" or last.status != "ok":
        return "failed"
    later = [each for each in attempts if each.started_ns > attempt.started_ns]
    if attempt is last or any(each.seam is not None for each in later):
        return None
    if attempt.reason == "hedge" or attempt.status == "cancelled" or not later:
        return "hedge"
    return _LOST_TO[min(later, key=lambda each: each.started_ns).reason]
