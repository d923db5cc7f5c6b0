"""Owns what calls cost: the price of an attempt, the entries that record it, and reports over them."""

from backstay.ledger.overrides import PriceOverride
from backstay.ledger.prices import PriceBook
from backstay.ledger.store import MERGE_ENTRIES, LedgerStore
from backstay.ledger.types import Cost, CostLine, LedgerEntry
from backstay.ledger.views import Books, CostRow, Dimension

__all__ = [
    "MERGE_ENTRIES",
    "Books",
    "Cost",
    "CostLine",
    "CostRow",
    "Dimension",
    "LedgerEntry",
    "LedgerStore",
    "PriceBook",
    "PriceOverride",
]
