"""Owns what readers of the ledger get: rows of a cost report, points of a plot, and the comparison with the traces."""

from datetime import datetime
from typing import Literal, get_args

import msgspec

from backstay.core.money import NanoUSD
from backstay.ledger.types import Unused

Dimension = Literal["user", "feature", "model", "target", "key", "tag", "day", "hour"]
"""What costs can be grouped by. ``day`` and ``hour`` are UTC. A call with several tags counts under each of them."""

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one group of calls cost. A dimension is ``None`` where it was not asked for, or the calls have none."""

    user: str | None = None
    feature: str | None = None
    model: str | None = None
    target: str | None = None
    key: str | None = None
    tag: str | None = None
    day: datetime | None = None
    hour: datetime | None = None
    calls: int
    """Distinct calls: several attempts of one are one call."""
    input_tokens: int
    output_tokens: int
    cost_nanousd: NanoUSD
    """The sum of what is known."""
    unknown_cost_calls: int
    """Calls with an attempt of unknown cost, which the sum leaves out."""
    estimated_attempts: int = 0
    """Attempts whose usage the provider did not tell: their cost is from what was received."""
    unconfirmed_attempts: int = 0
    """Attempts of which nobody knows whether they were billed: their worker died."""


class SpendPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one series cost in one stretch of time. Stretches without calls have no point."""

    at: datetime
    """When the stretch begins."""
    name: str | None
    """The series: a model, a user, …; ``None`` for calls that have none."""
    calls: int
    cost_nanousd: NanoUSD


class Waste(msgspec.Struct, frozen=True, kw_only=True):
    """What attempts cost whose answer nobody has, for one reason."""

    reason: Unused
    attempts: int
    cost_nanousd: NanoUSD
    """The sum of what is known."""
    unknown_cost_attempts: int = 0


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Whether ledger and traces agree. They are written from the same values, call by call."""

    ledger_nanousd: NanoUSD
    traces_nanousd: NanoUSD
    differing_calls: int
    """Calls whose cost is not the same in both, one being unknown included."""

    @property
    def agree(self) -> bool:
        return self.differing_calls == 0
