"""Owns ``[budgets.NAME]`` of ``backstay.toml``: what may be spent by default, in every tenant."""

from decimal import Decimal
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from backstay.budgets.scopes import parse_scope
from backstay.budgets.types import Dimension, OnLow, OnUnknownPrice, Span, Terms
from backstay.core.money import NANO_PER_USD, from_usd

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
    if (amount * NANO_PER_USD) % 1:
        raise ValueError("amounts have at most nine decimal places")
    return amount


LimitUSD = Annotated[
    Decimal, Field(ge=0, le=MOST_USD, allow_inf_nan=False, description="US dollars per window."), AfterValidator(_whole)
]


class BudgetConfig(BaseModel):
    """One budget. In each tenant it counts for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    limit_usd: LimitUSD
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
        return self

    def terms(self, name: str) -> Terms:
        return Terms(
            tenant_id=None,
            id=f"policy:{name}",
            name=name,
            scope=tuple(sorted(parse_scope(value) for value in self.scope)),
            per=self.per,
            limit=from_usd(self.limit_usd),
            span=self.window,
            time_zone=self.time_zone,
            hard=self.hard,
            on_low=self.on_low_budget,
            on_unknown_price=self.on_unknown_price,
            min_output_tokens=self.min_output_tokens,
            wait_s=self.wait_s,
            rollover=self.rollover,
        )
