"""Owns amounts of money: integers of nano-USD, and their exact decimal form."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import NewType

NanoUSD = NewType("NanoUSD", int)
"""An amount in billionths of a US dollar. An unknown amount is ``None``, never 0."""

NANO_PER_USD = 1_000_000_000
_MOST_DIGITS = 18
"""Before the point, of an amount that is read."""


def usd(amount: NanoUSD) -> str:
    """Write an amount as an exact decimal string in USD, without an exponent and with at least six digits.

    >>> usd(NanoUSD(412_000))
    '0.000412'
    >>> usd(NanoUSD(412_001))
    '0.000412001'
    """
    sign, nano = ("-", -amount) if amount < 0 else ("", amount)
    whole, fraction = divmod(nano, NANO_PER_USD)
    digits = f"{fraction:09d}"
    return f"{sign}{whole}.{digits[:6]}{digits[6:].rstrip('0')}"


def is_whole(amount: Decimal) -> bool:
    """Whether an amount in USD is a whole number of nano-dollars. Raises ``ValueError`` as ``from_usd`` does."""
    return Decimal(from_usd(amount)).scaleb(-9) == amount


def from_usd(amount: Decimal | str) -> NanoUSD:
    """Read an amount in USD, rounded half to even at the nano-dollar.

    Raises:
        ValueError: It is not a finite decimal number, or one of more than 18 digits before the point: to write out
            what an exponent says could take long.
    """
    try:
        value = Decimal(amount)
    except ArithmeticError as error:
        raise ValueError(f"not an amount of money: {amount!r}") from error
    if not value.is_finite():
        raise ValueError(f"not a finite amount of money: {amount!r}")
    if value.adjusted() >= _MOST_DIGITS:
        raise ValueError(f"more money than there is: 1e{value.adjusted()}")
    return NanoUSD(int((value * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN)))
