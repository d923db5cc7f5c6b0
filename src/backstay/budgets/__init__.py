"""What may be spent: budgets as escrow, reserved from before a provider is asked, and never overspent."""

from backstay.budgets.config import BudgetConfig
from backstay.budgets.escrow import Escrow
from backstay.budgets.scopes import Subject
from backstay.budgets.store import MERGE_CHARGES, end_holder
from backstay.budgets.types import Charge, Shortage, Terms
from backstay.budgets.vault import Purse, Share

__all__ = [
    "MERGE_CHARGES",
    "BudgetConfig",
    "Charge",
    "Escrow",
    "Purse",
    "Share",
    "Shortage",
    "Subject",
    "Terms",
    "end_holder",
]
