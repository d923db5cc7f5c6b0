"""Owns the arithmetic of an invoice: the ledger's sums, a markup, another currency, and where it is rounded. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from backstay.core.currencies import USD, Rate
from backstay.core.money import NanoUSD
from backstay.ledger.views import CostRow


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with their amounts, and what they add up to."""

    lines: tuple[tuple[CostRow, NanoUSD, Decimal], ...]
    """Each with its amount: in US dollars, and in the bill's currency."""
    cost_nanousd: NanoUSD
    amount_nanousd: NanoUSD
    amount: Decimal
    """In the bill's currency: what its lines add up to."""
    due_usd: str
    """Of whole cents."""
    due: str
    """Of whole units of the smallest amount that can be paid in the bill's currency."""


def write_invoice(rows: Sequence[CostRow], markup_percent: str, rate: Rate = USD) -> Bill:
    """Add a markup to each line, rounded half to even at the nano-dollar; only the sum is rounded to the cent.

    In another currency, lines are the differences of their running total, rounded half to even at a billionth of it:
    they add up to it. What is due is converted from the sum in US dollars, and rounded once.
    """
    factor = 1 + Fraction(markup_percent) / 100
    amounts = [NanoUSD(round(row.cost_nanousd * factor)) for row in rows]
    amount = NanoUSD(sum(amounts))
    converted = list(_converted(amounts, rate))
    return Bill(
        lines=tuple(zip(rows, amounts, converted, strict=True)),
        cost_nanousd=NanoUSD(sum(row.cost_nanousd for row in rows)),
        amount_nanousd=amount,
        amount=sum(converted, Decimal("0E-9")),
        due_usd=str(USD.from_nanousd(amount)),
        due=str(rate.from_nanousd(amount)),
    )


def _converted(amounts: Iterable[NanoUSD], rate: Rate) -> Iterable[Decimal]:
    running = told = 0
    for amount in amounts:
        running += amount
        total = round(Fraction(running) / Fraction(rate.usd))
        yield Decimal(total - told).scaleb(-9)
        told = total
