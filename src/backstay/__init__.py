"""Everything around the model: gateway, ledger, traces and console in one process and one Postgres."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backstay.client import Answer, AsyncClient, Client

__all__ = ["Answer", "AsyncClient", "Client"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the in-process client when it is first asked for: whoever wants the version alone loads nothing else."""
    if name in __all__:
        return getattr(import_module("backstay.client"), name)
    raise AttributeError(f"module 'backstay' has no attribute {name!r}")
