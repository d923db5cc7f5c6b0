"""Owns the nouns of anomalies: what is out of the ordinary, and what of it changed."""

from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import available_timezones

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from backstay.core.money import NANO_PER_USD, NanoUSD, usd
from backstay.statistics.seasonal import Basis, Rule, split_excess

Scope = Literal["tenant", "key", "user", "feature", "model"]
"""Whose spend is watched."""

_PARTS: tuple[Scope, ...] = ("feature", "user", "key", "model")
_SHOWN = 3


def known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; use a name such as Europe/Berlin")
    return name


class AnomalyConfig(BaseModel):
    """``[anomalies]`` of ``backstay.toml``: which spend is out of the ordinary. All three must hold of an hour."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_usd: float = Field(
        default=1.0, ge=0.000001, le=1e6, allow_inf_nan=False, description="So many US dollars above the usual."
    )
    times: float = Field(default=2.0, ge=1.1, le=1000, allow_inf_nan=False, description="So many times the usual.")
    deviations: float = Field(
        default=4.5, ge=1, le=100, allow_inf_nan=False, description="So many standard deviations above the usual."
    )
    time_zone: Annotated[str, AfterValidator(known_zone)] = Field(
        default="UTC", description="On whose clocks hours and weeks are the same."
    )

    def rule(self) -> Rule:
        return Rule(least=self.min_usd * NANO_PER_USD, times=self.times, deviations=self.deviations)


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What some hours came to; of the usual ones, their mean."""

    calls: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_nanousd: float = 0.0

    def each(self, amount: float) -> float:
        return amount / self.calls if self.calls else 0.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a dimension, and what it came to."""

    dimension: Scope
    name: str | None
    """``None``: calls that have none."""
    found: Sums
    usual: Sums

    @property
    def excess_nanousd(self) -> int:
        return round(self.found.cost_nanousd - self.usual.cost_nanousd)


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """Hours in which a scope cost far more than usual, and what changed."""

    scope: Scope
    name: str
    also: tuple[tuple[Scope, str], ...] = ()
    """Other scopes in which the same excess is out of the ordinary."""
    since: datetime
    until: datetime
    basis: Basis
    limit_nanousd: NanoUSD
    """What these hours might have come to without being out of the ordinary."""
    found: Sums
    usual: Sums
    parts: tuple[Part, ...] = ()
    """Of every dimension the values that add most, the largest first."""

    @property
    def cost_nanousd(self) -> NanoUSD:
        return NanoUSD(round(self.found.cost_nanousd))

    @property
    def usual_nanousd(self) -> NanoUSD:
        return NanoUSD(round(self.usual.cost_nanousd))

    @property
    def excess_nanousd(self) -> NanoUSD:
        return NanoUSD(self.cost_nanousd - self.usual_nanousd)

    def split(self) -> tuple[NanoUSD, NanoUSD]:
        """Say what more calls and what dearer calls add to the usual; together they are the excess."""
        more, _ = split_excess(
            self.usual.calls,
            # What never called has no usual price: all of it is more calls.
            self.usual.each(self.usual.cost_nanousd) if self.usual.calls else self.found.each(self.found.cost_nanousd),
            self.found.calls,
            self.found.each(self.found.cost_nanousd),
        )
        return NanoUSD(round(more)), NanoUSD(self.excess_nanousd - round(more))

    def describe(self) -> str:
        """Say in a few sentences what changed."""
        whose = f"{self.scope} {self.name}"
        hours = round((self.until - self.since).total_seconds() / 3600)
        when = f"in the hour from {_time(self.since)}" if hours == 1 else f"in {hours} hours from {_time(self.since)}"
        more, dearer = self.split()
        said = [
            f"{whose} spent ${short_usd(self.cost_nanousd)} {when}, usually ${short_usd(self.usual_nanousd)}.",
            f"{_ratio(self.found.calls, self.usual.calls, 'calls')} add ${short_usd(more)}, "
            f"{_ratio(*self._each('cost_nanousd'), 'cost a call')} ${short_usd(dearer)}"
            f" ({_ratio(*self._each('input_tokens'), 'tokens in')},"
            f" {_ratio(*self._each('output_tokens'), 'out')}).",
        ]
        if adding := [self._told(part) for part in self.leading()]:
            said.append(f"Most of it: {'; '.join(adding)}.")
        return " ".join(said)

    def leading(self) -> list[Part]:
        """Give the value of each dimension that adds most, where it adds more than half of the excess."""
        found: list[Part] = []
        for dimension in _PARTS:
            first = next((part for part in self.parts if part.dimension == dimension), None)
            if first is not None and dimension != self.scope and 2 * first.excess_nanousd > self.excess_nanousd:
                found.append(first)
        return found

    def _told(self, part: Part) -> str:
        share = min(100, round(100 * part.excess_nanousd / max(1, self.excess_nanousd)))
        return f"{part.dimension} {part.name or '(none)'} (+${short_usd(part.excess_nanousd)}, {share} %)"

    def _each(self, field: str) -> tuple[float, float]:
        return self.found.each(getattr(self.found, field)), self.usual.each(getattr(self.usual, field))


def largest_parts(parts: list[Part]) -> tuple[Part, ...]:
    """Keep the values of each dimension that add most."""
    found: list[Part] = []
    for dimension in _PARTS:
        of = sorted(
            (part for part in parts if part.dimension == dimension and part.excess_nanousd > 0),
            key=lambda part: (-part.excess_nanousd, part.name or ""),
        )
        found += of[:_SHOWN]
    return tuple(found)


def _ratio(found: float, usual: float, what: str) -> str:
    return f"{found / usual:.1f}x {what}" if usual else f"new {what}"


def short_usd(amount: float) -> str:
    """Write an amount to the cent, or with the digits that matter below one."""
    dollars = amount / NANO_PER_USD
    return f"{dollars:,.2f}" if abs(dollars) >= 1 or not amount else usd(NanoUSD(round(amount / 100_000) * 100_000))


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
