"""Owns the arithmetic of a price: token counts times unit prices, exact, rounded once to the nano-dollar."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

from genai_prices.types import TieredPrices

from backstay.core.money import NANO_PER_USD, NanoUSD
from backstay.core.usage import Usage
from backstay.ledger.dearest import input_corners, output_corners, search_corners
from backstay.ledger.types import Cost, CostLine

_MILLION = 1_000_000

DURATION = "duration_ms"
"""The time that an attempt took, in milliseconds and priced per second: Backstay's own unit."""

# Unit by genai-prices' name: how many of it one price is for, and the units that it is a part of. A part with a price
# of its own is taken out of the wholes, so that nothing is billed twice.
# Source: genai-prices 0.2.3, `genai_prices.data_units` (2026-11-23).
_UNITS: dict[str, tuple[int, tuple[str, ...]]] = {
    "input_mtok": (_MILLION, ()),
    "cache_read_mtok": (_MILLION, ("input_mtok",)),
    "cache_write_mtok": (_MILLION, ("input_mtok",)),
    "cache_write_1h_mtok": (_MILLION, ("cache_write_mtok", "input_mtok")),
    "input_audio_mtok": (_MILLION, ("input_mtok",)),
    "cache_audio_read_mtok": (_MILLION, ("cache_read_mtok", "input_audio_mtok", "input_mtok")),
    "input_image_mtok": (_MILLION, ("input_mtok",)),
    "cache_image_read_mtok": (_MILLION, ("cache_read_mtok", "input_image_mtok", "input_mtok")),
    "output_mtok": (_MILLION, ()),
    "output_reasoning_mtok": (_MILLION, ("output_mtok",)),
    "output_audio_mtok": (_MILLION, ("output_mtok",)),
    "output_image_mtok": (_MILLION, ("output_mtok",)),
    "output_citation_mtok": (_MILLION, ("output_mtok",)),
    "web_searches_kcount": (1_000, ()),
    "storage_searches_kcount": (1_000, ()),
    "requests_kcount": (1_000, ()),
    DURATION: (1_000, ()),
}
UNITS = tuple(_UNITS)
"""What can be billed: everything that ``Usage`` counts, and time. Prices for other units (hours of sound) go unused."""

_WITHOUT_USAGE = frozenset({"requests_kcount", DURATION})

_POSITION = {unit: position for position, unit in enumerate(_UNITS)}

ANY_INPUT = _ANY = -1
"""An input size that any call exceeds."""

NOTHING: frozenset[str] = frozenset()


def _counts(usage: Usage, requests: int = 1, duration_ms: int = 0) -> tuple[int, ...]:
    """Count each unit of ``UNITS``, in its order; parts are still within their wholes."""
    return (
        usage.input_tokens or 0,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.cache_audio_read_tokens,
        usage.input_image_tokens,
        usage.cache_image_read_tokens,
        usage.output_tokens or 0,
        usage.reasoning_tokens,
        usage.output_audio_tokens,
        usage.output_image_tokens,
        usage.citation_tokens,
        usage.web_searches,
        usage.storage_searches,
        requests,
        duration_ms,
    )


_Term = tuple[str, tuple[tuple[int, int], ...], int, str]
"""A unit, its own share as signed counts, its scaled price, and USD per million."""


class _Ceiling(NamedTuple):
    """The most that one of each can cost in one tier of input length, scaled."""

    above: int
    """Input tokens past which the tier begins."""
    up_to: int | None
    """Input tokens at which it ends."""
    input: int
    output: int
    search: int
    request: int
    millisecond: int


class Rates:
    """The unit prices of one model at one time, ready to be multiplied.

    Prices are whole numbers of nano-USD times ``scale`` for one unit, so that sums are exact. A line's amount is the
    difference of two rounded running totals: lines add up to the total, each within a nano-dollar of its own product.
    """

    def __init__(
        self,
        prices: Mapping[str, Decimal | TieredPrices],
        *,
        source: str,
        since: date | None = None,
        is_own: bool = False,
    ):
        """Prepare prices in USD by unit of ``UNITS``, as genai-prices gives them; other units are left aside.

        An operator's own price (``is_own``) is whole as it is written: no surcharge of the provider's comes to it.

        A tiered price goes by the whole input of a call: past a tier's start, all of its tokens cost that tier's price.
        """
        self.source = source
        self.since = since
        self.is_own = is_own
        self._prices = {unit: prices[unit] for unit in UNITS if unit in prices}
        starts = {
            tier.start for price in self._prices.values() if isinstance(price, TieredPrices) for tier in price.tiers
        }
        self._scale = lcm(
            *(
                _nano(unit, price, start).denominator
                for unit, price in self._prices.items()
                for start in {_ANY, *starts}
            )
        )
        self._base = self._terms(_ANY)
        self._tiers = tuple((start, self._terms(start)) for start in sorted(starts, reverse=True))
        billed = {unit for unit, _, rate, _ in self._base if rate}
        self._bills_input = "input_mtok" in billed
        self._bills_output = "output_mtok" in billed
        self._bills_searches = "web_searches_kcount" in self._prices
        self._bills_storage = "storage_searches_kcount" in self._prices
        self._bills_time = DURATION in billed
        self._bills_usage = not self._prices.keys() <= _WITHOUT_USAGE
        self._ceilings: dict[frozenset[str], tuple[_Ceiling, ...]] = {}

    def cost(self, usage: Usage, duration_ms: int = 0) -> Cost:
        """Price what was used, and the time that it took.

        The amount is ``None`` where the usage of something that costs is not known. Parts that a provider reports as
        larger than their whole are billed as reported, and the rest of the whole as 0.
        """
        if not self._is_known(usage):
            return Cost(amount_nanousd=None, source=self.source)
        counts, scale = _counts(usage, 1, duration_ms), self._scale
        percent = 100 if self.is_own else usage.price_percent
        if percent != 100:
            scale *= 100
        terms = self._base
        for start, dearer in self._tiers:
            if counts[0] > start:
                terms = dearer
                break
        lines: list[CostLine] = []
        running = billed = 0
        for unit, share, rate, usd_per_million in terms:
            quantity = 0
            for position, sign in share:
                quantity += sign * counts[position]
            if quantity <= 0:
                continue
            if percent != 100:
                factor = percent if unit.endswith("_mtok") else 100
                rate, usd_per_million = rate * factor, _times(usd_per_million, factor)
            running += quantity * rate
            total = running if scale == 1 else _half_even(running, scale)
            lines.append(
                CostLine(
                    unit=unit,
                    quantity=quantity,
                    usd_per_million=usd_per_million,
                    amount_nanousd=NanoUSD(total - billed),
                )
            )
            billed = total
        return Cost(amount_nanousd=NanoUSD(billed), lines=tuple(lines), source=self.source)

    def most(
        self,
        input_tokens: int,
        output_tokens: int,
        web_searches: int = 0,
        *,
        duration_ms: int | None = None,
        without: frozenset[str] = NOTHING,
    ) -> NanoUSD | None:
        """Say the most that any usage within these counts can cost; ``None`` where some of it has no price.

        It is exact: some usage within the counts costs as much. Each part is at most its whole.

        Args:
            input_tokens: At most so many, and so on.
            output_tokens: Of all candidates together.
            web_searches: Of the provider's own.
            duration_ms: ``None`` where it may take any time: then what is billed by the second has no bound.
            without: Units that the call cannot be billed for.
        """
        if not self._prices or (web_searches and not self._bills_searches):
            return None
        if duration_ms is None:
            if self._bills_time:
                return None
            duration_ms = 0
        ceilings = self._ceilings.get(without)
        if ceilings is None:
            ceilings = self._ceilings[without] = self._find_ceilings(without)
        most = 0
        for above, up_to, dearest_input, dearest_output, search, request, millisecond in ceilings:
            if input_tokens > above:
                longest = input_tokens if up_to is None or input_tokens < up_to else up_to
                bound = longest * dearest_input + output_tokens * dearest_output + web_searches * search + request
                bound += duration_ms * millisecond
                if bound > most:
                    most = bound
        return NanoUSD(most if self._scale == 1 else _half_even(most, self._scale))

    def _find_ceilings(self, without: frozenset[str]) -> tuple[_Ceiling, ...]:
        starts = [start for start, _ in reversed(self._tiers)]
        tiers = [self._base, *(terms for _, terms in reversed(self._tiers))]
        excluded = [_POSITION[unit] for unit in without if unit in _POSITION]
        return tuple(
            _Ceiling(
                above,
                up_to,
                max(_amount(terms, _counts(corner, 0), excluded) for corner in input_corners()),
                max(_amount(terms, _counts(corner, 0), excluded) for corner in output_corners()),
                max(_amount(terms, _counts(search, 0), excluded) for search in search_corners()),
                _amount(terms, _counts(Usage(), 1), excluded),
                _amount(terms, _counts(Usage(), 0, 1), excluded),
            )
            for above, up_to, terms in zip([_ANY, *starts], [*starts, None], tiers, strict=True)
        )

    @property
    def tier_starts(self) -> tuple[int, ...]:
        """Input sizes past which other prices hold."""
        return tuple(start for start, _ in self._tiers)

    def total(self, usage: Usage, *, calls: int, input_above: int) -> NanoUSD | None:
        """Price what many calls used together, each with more input than ``input_above`` and in the same tier.

        It is rounded once: it differs from the sum of the calls' costs by half a nano-dollar a call at most. ``None``:
        as the amount of ``cost``.
        """
        if not self._is_known(usage):
            return None
        terms = next((dearer for start, dearer in self._tiers if input_above >= start), self._base)
        counts = _counts(usage, calls)
        exact = sum(max(0, sum(sign * counts[at] for at, sign in share)) * rate for _, share, rate, _ in terms)
        return NanoUSD(_half_even(exact, self._scale))

    def describe(self) -> dict[str, Any]:
        """Say the prices for people: ``usd_per_million`` by unit, and those of each long-context tier."""
        return {
            "usd_per_million": {unit: usd for unit, _, _, usd in self._base},
            "tiers": [
                {"above_input_tokens": start, "usd_per_million": {unit: usd for unit, _, _, usd in terms}}
                for start, terms in reversed(self._tiers)
            ],
            "source": self.source,
            "since": self.since and self.since.isoformat(),
        }

    def _terms(self, start: int) -> tuple[_Term, ...]:
        """Prepare each unit's term of the sum, for calls whose input exceeds ``start`` tokens."""
        return tuple(
            (
                unit,
                _own_share(unit, self._prices.keys()),
                int(_nano(unit, price, start) * self._scale),
                _per_million(unit, price, start),
            )
            for unit, price in self._prices.items()
        )

    def _is_known(self, usage: Usage) -> bool:
        if not self._prices or (usage.web_searches and not self._bills_searches):
            return False
        if usage.storage_searches and not self._bills_storage:
            return False
        if not self._bills_usage:
            return True
        if not usage.is_known:
            return False
        return not (
            (self._bills_input and usage.input_tokens is None) or (self._bills_output and usage.output_tokens is None)
        )


def _at(price: Decimal | TieredPrices, start: int) -> Decimal:
    """Return the price past an input size."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if tier.start <= start), price.base)


def _nano(unit: str, price: Decimal | TieredPrices, start: int) -> Fraction:
    """Return the exact price of one of a unit, in nano-USD."""
    return Fraction(_at(price, start)) * NANO_PER_USD / _UNITS[unit][0]


def _own_share(unit: str, priced: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Find what is billed at a unit's own price, as signed counts: the unit less its parts that have a price."""
    share = {_POSITION[unit]: 1}
    for part in priced:
        if unit in _UNITS[part][1]:
            for position, sign in _own_share(part, priced):
                share[position] = share.get(position, 0) - sign
    return tuple((position, sign) for position, sign in share.items() if sign)


def _per_million(unit: str, price: Decimal | TieredPrices, start: int) -> str:
    return f"{(_at(price, start) * (_MILLION // _UNITS[unit][0])).normalize():f}"


def _times(usd_per_million: str, percent: int) -> str:
    return f"{(Decimal(usd_per_million) * percent / 100).normalize():f}"


def _amount(terms: Iterable[_Term], counts: Sequence[int], excluded: Iterable[int]) -> int:
    """Add up a bill, scaled; 0 where it has something that is excluded."""
    if any(counts[position] for position in excluded):
        return 0
    return sum(max(0, sum(sign * counts[at] for at, sign in share)) * rate for _, share, rate, _ in terms)


def _half_even(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))
