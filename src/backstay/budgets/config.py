"""Owns ``[budgets.NAME]`` of ``backstay.toml``: what may be spent by default, in every tenant."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from backstay.budgets.scopes import parse_scope
from backstay.budgets.types import Dimension, OnLow, OnUnknownPrice, Span, Terms
from backstay.core.currencies import Amount, Currencies, at_most, read_amount
from backstay.core.money import NanoUSD, is_whole

MOST_USD = 9_000_000_000
"""What fits into 64 bits of nano-dollars, with room for sums."""


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; use a name such as Europe/Berlin")
    return name


def _scopes(values: list[str]) -> list[str]:
    for value in values:
        parse_scope(value)
    return values


def _whole(amount: Decimal) -> Decimal:
    if not is_whole(amount):
        raise ValueError("amounts have at most nine decimal places")
    return amount


def _amount(written: str | float) -> str | float:
    read_amount(written)
    return written


LimitUSD = Annotated[
    Decimal, Field(ge=0, le=MOST_USD, allow_inf_nan=False, description="US dollars per window."), AfterValidator(_whole)
]


def convert_limit(amount: Amount, currencies: Currencies, at: datetime) -> tuple[NanoUSD, str | None]:
    """Convert a limit by the rate of a moment, rounded down at the nano-dollar.

    Returns:
        The limit; and, where it was given in another currency, what was given and the rate, for people.

    Raises:
        ValueError: The currency has no rate, or the limit is negative, too large or too finely written.
    """
    rate = currencies.rate(amount.currency, at)
    if not 0 <= amount.value * rate.usd <= MOST_USD:
        raise ValueError(f"must be from 0 to {MOST_USD:,} US dollars")
    return at_most(amount, rate), None if amount.currency == "USD" else f"{amount}, {rate}"


class BudgetConfig(BaseModel):
    """One budget. In each tenant it counts for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    limit_usd: LimitUSD | None = None
    limit: Annotated[str | int | float, AfterValidator(_amount)] | None = Field(
        default=None, description="Instead of `limit_usd`: with its currency, as in `50 EUR`."
    )
    window: Span = Field(default="month", description="How long the amount lasts.")
    scope: Annotated[list[str], AfterValidator(_scopes)] = Field(
        default=[], description="Whose calls: `feature:chat`, `user:u1`, `key:ID`, `model:fast`, `tag:x`; all must fit."
    )
    per: Dimension | None = Field(default=None, description="Each user, key, … has the amount for itself.")
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", description="Whose days, weeks and months."
    )
    hard: bool = Field(default=True, description="Whether calls are refused; else they are only marked.")
    on_low_budget: OnLow = Field(default="clamp", description="What is done where a call's worst case does not fit.")
    on_unknown_price: OnUnknownPrice = Field(
        default="refuse", description="Calls of unknown price are refused, or taken to cost `[unknown_price]`."
    )
    min_output_tokens: int = Field(
        default=64, ge=1, le=1_000_000, description="Shortest answer that `clamp` limits a call to."
    )
    wait_s: float = Field(
        default=5.0, ge=0, le=600, description="How long a call waits for what running calls may give back."
    )
    rollover: bool = Field(default=False, description="Whether what is left goes into the next window, once.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rollover and self.window == "lifetime":
            raise ValueError("a lifetime has no next window to roll over into")
        if (self.limit is None) == (self.limit_usd is None):
            raise ValueError("needs one of limit_usd, as in 50, and limit, as in '50 EUR'")
        return self

    @property
    def amount(self) -> Amount:
        """The limit as it is written."""
        return Amount(self.limit_usd, "USD") if self.limit_usd is not None else read_amount(self.limit or 0)

    def terms(self, name: str, currencies: Currencies | None = None, at: datetime | None = None) -> Terms:
        """Agree on the budget, by the rate that its currency has at a moment: now, where none is given.

        Raises:
            ValueError: The currency has no rate, or the limit is out of range.
        """
        limit, given = convert_limit(self.amount, currencies or Currencies(), at or datetime.now(UTC))
        return Terms(
            tenant_id=None,
            id=f"policy:{name}",
            name=name,
            scope=tuple(sorted(parse_scope(value) for value in self.scope)),
            per=self.per,
            limit=limit,
            limit_given=given,
            span=self.window,
            time_zone=self.time_zone,
            hard=self.hard,
            on_low=self.on_low_budget,
            on_unknown_price=self.on_unknown_price,
            min_output_tokens=self.min_output_tokens,
            wait_s=self.wait_s,
            rollover=self.rollover,
        )
