"""Owns the nouns of budgets: what may be spent by whom, and what a worker asks of the book and is told.

Amounts are nano-USD, times microseconds; ``starts_us`` and ``ends_us`` of the book's clock since the Unix epoch.
"""

from typing import Literal, get_args

import msgspec

from backstay.core.money import NanoUSD

Dimension = Literal["key", "user", "feature", "model", "tag"]
"""What a budget can be told apart by, within its tenant."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

Span = Literal["minute", "hour", "day", "week", "month", "lifetime"]

OnLow = Literal["clamp", "downgrade", "refuse", "queue"]
"""What is done where the worst case of a call does not fit. ``clamp``: its output is limited to what fits.
``downgrade``: a target is taken whose worst case fits. ``queue``: it waits for money until its deadline."""


OnUnknownPrice = Literal["refuse", "bound"]
"""What a hard budget does with a call whose price nobody knows. ``bound``: it is taken to cost what the policy's
``[unknown_price]`` says."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """One budget as it was agreed on."""

    tenant_id: str | None
    """``None``: of each tenant, as the policy says."""
    id: str
    """``bud_…``, or ``policy:NAME``."""
    name: str = ""
    scope: tuple[tuple[Dimension, str], ...] = ()
    """What a call must be of, all of it; nothing: all calls of the tenant."""
    per: Dimension | None = None
    """Each value of this has the amount for itself."""
    limit: NanoUSD
    limit_given: str | None = None
    """As it was written, with the rate, where that was in another currency than US dollars."""
    span: Span
    time_zone: str = "UTC"
    hard: bool = True
    on_low: OnLow = "clamp"
    on_unknown_price: OnUnknownPrice = "refuse"
    min_output_tokens: int = 64
    """The shortest answer worth being limited to."""
    wait_s: float = 5.0
    """How long a call waits for what other calls hold and may give back."""
    rollover: bool = False
    stopped: bool = False
    """Whether every call is refused, whatever is left."""

    @property
    def is_policy(self) -> bool:
        return self.id.startswith("policy:")

    def describe(self, subject: str = "") -> str:
        """Name it for people: by its scope."""
        parts = [f"{dimension} {value}" for dimension, value in self.scope]
        if self.per is not None and subject:
            parts.append(f"{self.per} {subject}")
        return " of ".join(parts) or "tenant"


class Window(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the windows of a budget of the policy are made of, which the book does not know by itself."""

    limit: int
    span: str
    zone: str = "UTC"
    rollover: bool = False


class Charge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call cost one budget: a part of the call's record in the journal."""

    budget_id: str
    subject: str = ""
    starts_us: int | None = None
    """``None``: of a soft budget whose window the worker was not told of. The book finds it by ``at_us``."""
    window: Window | None = None
    """With ``starts_us`` left out, of the policy's budgets."""
    at_us: int
    """The call's own time."""
    covered: int = 0
    """What had been reserved for it."""
    uncovered: int = 0
    """What goes beyond: the provider told of more than the worst case, or the budget is soft."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker's part of one budget in a sync."""

    place: int
    tenant_id: str
    budget_id: str
    subject: str
    returns: tuple[tuple[int, int], ...] = ()
    """By window: all that was ever given back of it."""
    settled: tuple[int, int] | None = None
    """The current window, and all that calls have ever cost of what was had of it, shipped or not."""
    need: int = 0
    """What calls are waiting for."""
    unit: int = 0
    """The least that is of use to any of them."""
    wish: int = 0
    """What calls are expected to need soon."""
    limit: int | None = None
    """Of the policy's budgets, with the next three; those of the database are known there."""
    span: str | None = None
    zone: str | None = None
    rollover: bool | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The book's answer to one ask."""

    place: int
    gone: bool = False
    """Whether there is no such budget any more."""
    starts_us: int = 0
    ends_us: int = 0
    received: int = 0
    """All that was ever granted to this holder in this window."""
    limit: int = 0
    spent: int = 0
    free: int = 0
    """What nobody holds; below 0 where more was spent than the limit."""
    elsewhere: int = 0
    """What others hold and have not said to be spent."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the book says to a sync."""

    at_us: int
    answers: tuple[Answer, ...] = ()


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call cannot be reserved for."""

    terms: Terms
    subject: str
    left: int
    """What a call can have now, at most; less than what was asked for."""
    retry_s: float | None = None
    """When the window ends; ``None``: never."""
    unheard: bool = False
    """Whether the book does not answer, and it may be that it has more: what is left is what this worker holds."""
