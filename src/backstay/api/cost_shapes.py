"""Owns the shapes of the API's reports on costs: the dearest calls, waste, exports, invoices."""

from typing import Annotated

import msgspec
from msgspec import Meta

from backstay.access.types import Instant
from backstay.api.shapes import CallQuery, CallRow, ExactUSD, Moment
from backstay.ledger.export import Format
from backstay.ledger.types import Unused


class DearestQuery(CallQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class DearestCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, the dearest first; those of unknown cost are not among them."""

    requests: list[CallRow]


class WasteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since: Moment = "7d"
    until: Moment | None = None


class WasteRow(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts whose answer nobody has, for one reason."""

    reason: Unused
    attempts: int
    cost_usd: ExactUSD
    unknown_cost_attempts: int


class WasteReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was paid for and not used, and what caches saved."""

    since: Instant
    until: Instant
    cost_usd: ExactUSD
    answered_calls: int
    cost_per_answered_call_usd: ExactUSD | None
    """Rounded half to even at the nano-dollar; `null` where no call was answered."""
    wasted_usd: ExactUSD
    waste: list[WasteRow]
    cache_hits: int | None
    """Of whole days, the first one included; `null` for keys that see their own calls alone."""
    cache_saved_usd: ExactUSD | None


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: Format = "csv"
    since: Moment = "30d"
    until: Moment | None = None
    gzip: bool = False


class InvoiceQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    month: Annotated[
        str, Meta(pattern=r"^(19[7-9][0-9]|[2-8][0-9]{3})-(0[1-9]|1[0-2])$", description="Such as 2026-10, UTC.")
    ]
    markup: Annotated[
        str, Meta(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4})?$", description="Per cent that is added to each line.")
    ] = "0"


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    feature: str | None
    key: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: ExactUSD
    """What the ledger says."""
    amount_usd: ExactUSD
    """With the markup, rounded half to even at the nano-dollar."""
    unknown_cost_calls: int


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """A month of one tenant. Lines add up to the totals exactly; only `due_usd` is rounded, once, to the cent."""

    tenant: str
    month: str
    since: Instant
    until: Instant
    markup_percent: str
    lines: list[InvoiceLine]
    cost_usd: ExactUSD
    amount_usd: ExactUSD
    due_usd: ExactUSD
    """`amount_usd`, rounded half to even to the cent."""
    unknown_cost_calls: int
    """Calls of unknown cost, for which nothing is asked."""
    rounding: str
