"""Owns the prices that an operator writes down: the ``[prices."provider/model"]`` tables of ``backstay.toml``."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import MAX_PREC, Decimal, localcontext
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from backstay.core.currencies import USD, CurrencyCode, Rate
from backstay.ledger.rates import DURATION

Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class PriceOverride(BaseModel):
    """The whole price of one target, in US dollars per million tokens unless said otherwise.

    In another ``currency`` every price is converted by that currency's rate of the day, exactly: only the sum of a bill
    is rounded.

    It replaces the public price, it does not add to it. A kind of token without a price of its own is billed as what it
    is part of: cached and audio input as input, one-hour cache writes as cache writes, reasoning and audio output as
    output.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Price | None = Field(default=None, description="USD per million input tokens.")
    output: Price | None = Field(default=None, description="USD per million output tokens.")
    cache_read: Price | None = Field(
        default=None, description="USD per million input tokens read from the provider's cache."
    )
    cache_write: Price | None = Field(
        default=None, description="USD per million input tokens written to the provider's cache."
    )
    cache_write_1h: Price | None = Field(default=None, description="USD per million input tokens cached for one hour.")
    input_audio: Price | None = Field(default=None, description="USD per million audio input tokens.")
    output_audio: Price | None = Field(default=None, description="USD per million audio output tokens.")
    reasoning: Price | None = Field(default=None, description="USD per million reasoning tokens.")
    web_search: Price | None = Field(default=None, description="USD per web search that the provider ran.")
    per_request: Price | None = Field(default=None, description="USD per request, whatever its size.")
    per_second: Price | None = Field(default=None, description="USD per second that the attempt took.")
    currency: CurrencyCode = Field(default="USD", description="What the prices are in; its rate is in [currencies].")
    valid_from: date | None = Field(default=None, description="First day (UTC) of this price.")
    valid_until: date | None = Field(default=None, description="Last day (UTC) of this price.")

    @model_validator(mode="after")
    def _has_a_price(self) -> "PriceOverride":
        if not self.model_fields_set - {"currency", "valid_from", "valid_until"}:
            raise ValueError("name at least one price, such as `input = 0.15`")
        if self.valid_until is not None and self.valid_until < (self.valid_from or date.min):
            raise ValueError(f"valid_until ({self.valid_until}) is before valid_from ({self.valid_from})")
        return self

    def source(self, rate: Rate = USD) -> str:
        """Say in the ledger where the price is from, since when it holds, and by which rate it was converted."""
        since = "backstay.toml" if self.valid_from is None else f"backstay.toml since {self.valid_from}"
        return since if rate is USD else f"{since}, {rate}"

    def prices(self, rate: Rate = USD) -> dict[str, Decimal]:
        """Name the prices as genai-prices does: USD by unit, for a million tokens or a thousand of the rest."""
        named = {
            "input_mtok": self.input,
            "output_mtok": self.output,
            "cache_read_mtok": self.cache_read,
            "cache_write_mtok": self.cache_write,
            "cache_write_1h_mtok": self.cache_write_1h,
            "input_audio_mtok": self.input_audio,
            "output_audio_mtok": self.output_audio,
            "output_reasoning_mtok": self.reasoning,
            "web_searches_kcount": None if self.web_search is None else self.web_search * 1_000,
            "requests_kcount": None if self.per_request is None else self.per_request * 1_000,
            DURATION: self.per_second,
        }
        with localcontext(prec=MAX_PREC):  # a product of two decimals is exact
            return {unit: price * rate.usd for unit, price in named.items() if price is not None}


class UnknownPrice(BaseModel):
    """``[unknown_price]``: what budgets with ``on_unknown_price = "bound"`` take a call of unknown price to cost.

    It is reserved and charged whole, since nobody can say what the call did cost; the ledger says *unknown*.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Price = Field(description="USD per million input tokens, at most.")
    output: Price = Field(description="USD per million output tokens, at most.")
    web_search: Price | None = Field(default=None, description="USD per web search; left out, such calls are refused.")
    per_request: Price = Field(default=Decimal(0), description="USD per request, whatever its size, at most.")
    currency: CurrencyCode = Field(default="USD", description="What the prices are in; its rate is in [currencies].")

    def prices(self, rate: Rate = USD) -> dict[str, Decimal]:
        """Name the prices as genai-prices does."""
        return PriceOverride(**self.model_dump()).prices(rate)


def price_at(prices: Sequence[PriceOverride], at: datetime) -> PriceOverride | None:
    """Find the price of a moment among those of one target; ``None`` on days that none of them is for.

    A price holds from its first day to its last, or until the next one begins.
    """
    day = at.astimezone(UTC).date()
    latest = next((price for price in reversed(prices) if (price.valid_from or date.min) <= day), None)
    return None if latest is None or (latest.valid_until or date.max) < day else latest


def in_order(prices: Sequence[PriceOverride]) -> tuple[PriceOverride, ...]:
    """Order the prices of one target by their first day.

    Raises:
        ValueError: Two of them hold on one day.
    """
    ordered = tuple(sorted(prices, key=lambda price: price.valid_from or date.min))
    for earlier, later in pairwise(ordered):
        begins = later.valid_from or date.min
        if begins == (earlier.valid_from or date.min):
            raise ValueError("two prices begin on one day: give each its own valid_from")
        if earlier.valid_until is not None and earlier.valid_until >= begins:
            raise ValueError(
                f"two prices hold on {begins}: end the earlier one with valid_until = {begins - timedelta(days=1)}, "
                "or leave its valid_until out"
            )
    return ordered


def _as_list(written: Any) -> Any:
    """Read one table for itself, so that what is wrong with it is not said of the first of a list."""
    return (PriceOverride.model_validate(written),) if isinstance(written, dict) else written


def _json_schema() -> dict[str, Any]:
    one = PriceOverride.model_json_schema()
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


DatedPrices = Annotated[
    tuple[PriceOverride, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    AfterValidator(in_order),
    WithJsonSchema(_json_schema()),
]
"""The prices of one target, in the order of their days: written as one table, or as a list of them."""
