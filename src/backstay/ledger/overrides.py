"""Owns the prices that an operator writes down: the ``[prices."provider/model"]`` tables of ``backstay.toml``."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class PriceOverride(BaseModel):
    """The whole price of one target, in US dollars per million tokens unless said otherwise.

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
    valid_from: date | None = Field(
        default=None, description="First day (UTC) of this price; before it, the public one."
    )

    @model_validator(mode="after")
    def _has_a_price(self) -> "PriceOverride":
        if not self.model_fields_set - {"valid_from"}:
            raise ValueError("name at least one price, such as `input = 0.15`")
        return self

    def applies(self, at: datetime) -> bool:
        """Whether the price is in force at this moment."""
        return self.valid_from is None or at.astimezone(UTC).date() >= self.valid_from

    def prices(self) -> dict[str, Decimal]:
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
        }
        return {unit: usd for unit, usd in named.items() if usd is not None}
