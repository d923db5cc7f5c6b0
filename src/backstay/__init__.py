"""Everything around the model: gateway, ledger, traces and console in one process and one Postgres."""

__version__ = "0.1.0"
