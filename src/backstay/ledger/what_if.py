"""Owns what past usage would have cost at other prices. Pure."""

from collections.abc import Sequence

from backstay.core.money import NanoUSD
from backstay.ledger.rates import Rates
from backstay.ledger.traffic import UsageSum
from backstay.ledger.types import Cost


def reprice(sums: Sequence[UsageSum], rates: Rates | Cost) -> NanoUSD | None:
    """Price usage, rounded to the nano-dollar once for each tier; ``None`` where a price is not known.

    Attempts whose usage is unknown are left out.
    """
    if isinstance(rates, Cost):
        return rates.amount_nanousd
    total = 0
    for each in sums:
        if each.above is None:
            continue
        cost = rates.total(each.usage, calls=each.attempts, input_above=each.above)
        if cost is None:
            return None
        total += cost
    return NanoUSD(total)
