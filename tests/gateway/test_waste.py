"""Why an attempt's answer was not used, as the gateway tells the ledger."""

from typing import Any

import msgspec
import pytest

from backstay.gateway.tries import Reason
from backstay.gateway.waste import why_unused
from backstay.ledger.types import Unused
from backstay.tracing import SpanStatus


class Tried(msgspec.Struct, kw_only=True, frozen=True):
    reason: Reason
    started_ns: int
    status: SpanStatus = "ok"
    seam: Any = None


FIRST = Tried(reason="first", started_ns=1, status="error")
HEDGE = Tried(reason="hedge", started_ns=2)


@pytest.mark.parametrize(
    ("attempts", "status", "expected"),
    [
        ([Tried(reason="first", started_ns=1)], "ok", [None]),
        ([FIRST, Tried(reason="retry", started_ns=2)], "ok", ["retry", None]),
        ([FIRST, Tried(reason="fallback", started_ns=2)], "ok", ["fallback", None]),
        ([msgspec.structs.replace(FIRST, status="cancelled"), HEDGE], "ok", ["hedge", None]),
        ([HEDGE, Tried(reason="first", started_ns=1)], "ok", ["hedge", None]),
        ([FIRST, Tried(reason="continue", started_ns=2, seam=12)], "ok", [None, None]),
        ([FIRST, Tried(reason="retry", started_ns=2, status="error")], "error", ["failed", "failed"]),
        ([Tried(reason="first", started_ns=1)], "cancelled", ["cancelled"]),
    ],
)
def test_each_attempt_is_used_or_says_why_not(
    attempts: list[Tried], status: SpanStatus, expected: list[Unused | None]
) -> None:
    """The last one answered; the others were lost to what came after them, unless a part of theirs was gone on from."""
    assert [why_unused(attempt, attempts, status) for attempt in attempts] == expected
