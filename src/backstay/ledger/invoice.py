"""Owns the arithmetic of an invoice: the ledger's sums, a markup, and where it is rounded. Pure."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import msgspec

from backstay.core.money import NANO_PER_USD, NanoUSD
from backstay.ledger.views import CostRow


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with their amounts, and what they add up to."""

    lines: tuple[tuple[CostRow, NanoUSD], ...]
    cost_nanousd: NanoUSD
    amount_nanousd: NanoUSD
    due_usd: str
    """Of whole cents."""


def write_invoice(rows: Sequence[CostRow], markup_percent: str) -> Bill:
    """Add a markup to each line, rounded half to even at the nano-dollar; only the sum is rounded to the cent."""
    factor = 1 + Fraction(markup_percent) / 100
    lines = tuple((row, NanoUSD(round(row.cost_nanousd * factor))) for row in rows)
    amount = sum(amount for _, amount in lines)
    due = (Decimal(amount) / NANO_PER_USD).quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)
    return Bill(
        lines=lines,
        cost_nanousd=NanoUSD(sum(row.cost_nanousd for row in rows)),
        amount_nanousd=NanoUSD(amount),
        due_usd=str(due),
    )
