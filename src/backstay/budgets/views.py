"""Owns how a budget and its current window are shown, to the API, the command line and the pages alike. Pure."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from backstay.budgets.types import Dimension, OnLow, Span, Terms
from backstay.core.money import NanoUSD, usd

MOST_SUBJECTS = 100
"""Of a budget that each user, key, … has for itself: those who spent most are shown."""

BudgetState = Literal["active", "stopped", "exhausted", "over"]
"""``stopped``: every call is refused. ``exhausted``: a hard budget is spent, of somebody at least. ``over``: a soft one
is, and calls are only marked."""


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a window is used, by one of those who have the amount for themselves."""

    subject: str
    limit_usd: str
    spent_usd: str
    reserved_usd: str
    """What workers hold, for calls that run and soon will."""
    left_usd: str
    resets_at: dt.datetime | None


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and its current window; of one that each user, … has for itself, the sums over all of them."""

    id: str
    """``bud_…``; or ``policy:NAME`` for one of ``backstay.toml``."""
    name: str
    scope: str
    per: Dimension | None
    window: Span
    time_zone: str
    limit_usd: str
    limit_given: str | None = None
    """As it was written, with the rate and its date, where that was not in US dollars."""
    carried_usd: str
    """How much of the limit the window before left over."""
    spent_usd: str
    reserved_usd: str
    left_usd: str | None
    """``None`` where each has it for itself."""
    hard: bool
    on_low_budget: OnLow
    stopped: bool
    state: BudgetState
    starts_at: dt.datetime | None
    """``None``: it has no windows but its lifetime."""
    resets_at: dt.datetime | None
    subjects: list[BudgetUse]
    """Those who spent most, where each has it for itself."""
    subject_count: int
    """How many have spent of it in this window, where each has it for itself."""

    @property
    def is_policy(self) -> bool:
        """Whether it stands in ``backstay.toml`` and is changed there."""
        return self.id.startswith("policy:")

    def describe(self, subject: str = "") -> str:
        """Name whose it is in the words of a refusal, as ``feature chat of user u1``."""
        parts = [part.replace(":", " ", 1) for part in self.scope.split(",") if not part.startswith("tenant:")]
        return " of ".join([*parts, *([f"{self.per} {subject}"] if self.per and subject else [])]) or "tenant"


def view_of(terms: Terms, rows: Sequence[dict[str, Any]], tenant_id: str) -> BudgetView:
    """Show a budget.

    Args:
        rows: Its current window, of those who spent most; one row without a subject where nothing was counted yet.
    """
    first = rows[0]
    each_its_own = terms.per is not None
    used = [row for row in rows if row["subject"] is not None]
    uses = [_use(terms, row) for row in used]
    carried = used[0]["carried"] if used and not each_its_own else 0
    limit, spent, held = terms.limit + carried, first["all_spent"] or 0, first["all_granted"] or 0
    is_spent = any(row["spent"] >= terms.limit + row["carried"] for row in used)
    return BudgetView(
        id=terms.id,
        name=terms.name,
        scope=",".join(f"{dimension}:{value}" for dimension, value in terms.scope) or f"tenant:{tenant_id}",
        per=terms.per,
        window=terms.span,
        time_zone=terms.time_zone,
        limit_usd=usd(NanoUSD(limit)),
        limit_given=terms.limit_given,
        carried_usd=usd(NanoUSD(carried)),
        spent_usd=usd(NanoUSD(spent)),
        reserved_usd=usd(NanoUSD(held)),
        left_usd=None if each_its_own else usd(NanoUSD(max(0, limit - spent - held))),
        hard=terms.hard,
        on_low_budget=terms.on_low,
        stopped=terms.stopped,
        state=_state(terms, is_spent=is_spent or (not limit and not each_its_own)),
        starts_at=None if terms.span == "lifetime" else moment(first["starts_us"]),
        resets_at=None if terms.span == "lifetime" else moment(first["ends_us"]),
        subjects=uses if each_its_own else [],
        subject_count=first["all_subjects"] or 0 if each_its_own else 0,
    )


def moment(at_us: int) -> dt.datetime:
    """Read microseconds since the Unix epoch."""
    return dt.datetime.fromtimestamp(at_us / 1e6, dt.UTC)


def _state(terms: Terms, *, is_spent: bool) -> BudgetState:
    if terms.stopped:
        return "stopped"
    if not is_spent:
        return "active"
    return "exhausted" if terms.hard else "over"


def _use(terms: Terms, row: dict[str, Any]) -> BudgetUse:
    limit, spent, held = terms.limit + row["carried"], row["spent"], row["granted"]
    return BudgetUse(
        subject=row["subject"],
        limit_usd=usd(NanoUSD(limit)),
        spent_usd=usd(NanoUSD(spent)),
        reserved_usd=usd(NanoUSD(held)),
        left_usd=usd(NanoUSD(max(0, limit - spent - held))),
        resets_at=None if terms.span == "lifetime" else moment(row["ends_us"]),
    )
