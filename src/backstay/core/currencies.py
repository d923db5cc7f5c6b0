"""Owns currencies beside the US dollar: the rates that an operator has configured, and amounts written in them. Pure.

Everything inside is nano-USD. An amount in another currency is converted once, where it is written down, by the rate of
that day; the rate and its date are stated beside it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from backstay.core.money import NANO_PER_USD, NanoUSD

_AMOUNT = re.compile(r"\s*(?P<value>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(?P<currency>[A-Za-z]{3})?\s*")
_DIGITS = {"BHD": 3, "CLP": 0, "ISK": 0, "JOD": 3, "JPY": 0, "KRW": 0, "KWD": 3, "OMR": 3, "PYG": 0, "TND": 3, "UGX": 0,
           "VND": 0, "XAF": 0, "XOF": 0, "XPF": 0}  # fmt: skip
"""Decimal places of the smallest amount that can be paid, where it is not two. Source: ISO 4217, list one (2025)."""

CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="A currency by its code of ISO 4217.")]


class CurrencyRate(BaseModel):
    """What one unit of a currency is worth, until the next rate begins; the first one for days before it, too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: Annotated[Decimal, Field(gt=0, le=1_000_000, allow_inf_nan=False, description="US dollars for one unit.")]
    valid_from: date | None = Field(default=None, description="First day (UTC) of this rate.")


def _as_list(written: Any) -> Any:
    """Read the short form, a rate alone, and one table for itself."""
    if isinstance(written, str | int | float):
        written = {"usd": written}
    return (CurrencyRate.model_validate(written),) if isinstance(written, dict) else written


def _in_order(rates: Sequence[CurrencyRate]) -> tuple[CurrencyRate, ...]:
    ordered = tuple(sorted(rates, key=_begins))
    if twice := next((later for earlier, later in pairwise(ordered) if _begins(earlier) == _begins(later)), None):
        raise ValueError(f"two rates begin on one day ({twice.valid_from}): give each its own valid_from")
    return ordered


def _begins(rate: CurrencyRate) -> date:
    return rate.valid_from or date.min


def _json_schema() -> dict[str, Any]:
    one = CurrencyRate.model_json_schema()
    return {"anyOf": [{"type": ["string", "number"]}, one, {"type": "array", "items": one, "minItems": 1}]}


DatedRates = Annotated[
    tuple[CurrencyRate, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    AfterValidator(_in_order),
    WithJsonSchema(_json_schema()),
]
"""The rates of one currency, in the order of their days: written as a number of dollars, a table, or a list."""


class Rate(NamedTuple):
    """What one unit of a currency is worth on a day."""

    currency: str
    usd: Decimal
    since: date | None

    def __str__(self) -> str:
        """State it for people and for the books, as ``1 EUR = 1.0842 USD since 2026-11-01``."""
        since = "" if self.since is None else f" since {self.since}"
        return f"1 {self.currency} = {self.usd:f} USD{since}"

    def from_nanousd(self, amount: int | Fraction) -> Decimal:
        """Convert to this currency, rounded half to even to the smallest amount that can be paid in it."""
        places = _DIGITS.get(self.currency, 2)
        units = round(Fraction(amount) * 10**places / NANO_PER_USD / Fraction(self.usd))
        return Decimal(units).scaleb(-places).quantize(Decimal(1).scaleb(-places))


class Amount(NamedTuple):
    """An amount as somebody wrote it."""

    value: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.value:f} {self.currency}"


USD = Rate("USD", Decimal(1), None)


def read_amount(written: str | float | Decimal) -> Amount:
    """Read ``50 EUR``, or a number alone, which is of US dollars.

    Raises:
        ValueError: It is no amount; what was expected.
    """
    found = _AMOUNT.fullmatch(str(written))
    if found is None:
        raise ValueError("must be an amount in US dollars, as in 0.05, or with its currency, as in '50 EUR'")
    return Amount(Decimal(found["value"]), (found["currency"] or "USD").upper())


class Currencies:
    """The currencies that an operator has configured, with US dollars."""

    def __init__(self, rates: Mapping[str, Sequence[CurrencyRate]] | None = None):
        """``rates`` by code, in the order of their days."""
        self._rates = dict(rates or {})

    def rate(self, currency: str, at: datetime) -> Rate:
        """Return the rate of a moment.

        Raises:
            ValueError: The currency is not configured; which ones are.
        """
        if currency == "USD":
            return USD
        if currency not in self._rates:
            known = ", ".join(["USD", *sorted(self._rates)])
            raise ValueError(
                f"the currency {currency!r} has no rate. There are: {known}. Others are added in [currencies], "
                f'as in {currency} = "1.08"'
            )
        day, dated = at.astimezone(UTC).date(), self._rates[currency]
        found = next((rate for rate in reversed(dated) if _begins(rate) <= day), dated[0])
        return Rate(currency, found.usd, found.valid_from)

    def in_force(self, at: datetime) -> tuple[Rate, ...]:
        """List the rates of a moment, by code."""
        return tuple(self.rate(code, at) for code in sorted(self._rates))


def at_most(amount: Amount, rate: Rate) -> NanoUSD:
    """Convert a limit: rounded down at the nano-dollar, so that nobody may spend more than was written.

    Raises:
        ValueError: It is in US dollars, and has more decimal places than nano-dollars have.
    """
    exact = Fraction(amount.value) * Fraction(rate.usd) * NANO_PER_USD
    if amount.currency == "USD" and exact.denominator != 1:
        raise ValueError("has more than nine decimal places")
    return NanoUSD(exact.numerator // exact.denominator)


def to_nanousd(amount: Amount, rate: Rate) -> NanoUSD:
    """Convert what was paid or billed: rounded half to even at the nano-dollar."""
    return NanoUSD(round(Fraction(amount.value) * Fraction(rate.usd) * NANO_PER_USD))
