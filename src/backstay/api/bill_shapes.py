"""Owns the shapes of the API's comparison of the ledger with a vendor's bill."""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import Meta

from backstay.api.shapes import ExactUSD

_MOST_ROWS = 10_000
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Count = Annotated[int, Meta(ge=0, le=10**15)]


class BilledRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor billed for one model on one UTC day. Without a model: the whole day."""

    day: dt.date
    model: _Name | None = None
    vendor_key: _Name | None = None
    """The vendor's key or project, where the bill is compared key by key."""
    cost_usd: str | None = None
    cost: Annotated[str, Meta(max_length=60)] | None = None
    """Instead of ``cost_usd``: with its currency, as in ``1.25 EUR``; it is converted by the rate of the day."""
    input_tokens: _Count | None = None
    """Cached ones included."""
    output_tokens: _Count | None = None


class Booking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Book what differs, as adjustments."""

    file: Annotated[str, Meta(min_length=8, max_length=128)]
    """A digest of the bill: each of its lines is booked once."""
    amount_usd: str | None = None
    """What somebody has agreed to book, in sum: if it is another amount by now, nothing is booked."""


class Bill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vendor's bill, and the providers of the policy whose calls it is for."""

    providers: Annotated[list[_Name], Meta(min_length=1, max_length=50)]
    rows: Annotated[list[BilledRow], Meta(max_length=_MOST_ROWS)]
    keys: dict[_Name, _Name] = {}
    """Which of the providers calls with which of the vendor's keys: then each key is compared for itself."""
    all_tenants: bool = False
    """Compare with the calls of all tenants; for the installation's operator."""
    book: Booking | None = None


class ReconciledRow(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of one day, key and model. ``difference_usd``: billed beyond what is booked."""

    day: dt.date
    model: str | None
    vendor_key: str | None
    calls: int
    billed_usd: ExactUSD | None
    booked_usd: ExactUSD
    adjusted_usd: ExactUSD
    """How much of what is booked are adjustments of earlier comparisons."""
    difference_usd: ExactUSD | None
    to_book_usd: ExactUSD
    """What an adjustment would book: 0 where both agree, or the vendor tells no amount."""
    billed_input_tokens: int | None
    booked_input_tokens: int
    billed_output_tokens: int | None
    booked_output_tokens: int
    causes: list[str]
    """What may explain the difference, the likeliest first; none where they agree."""


class BookedLine(msgspec.Struct, frozen=True, kw_only=True):
    """An adjustment that was booked now."""

    tenant: str
    day: dt.date
    vendor_key: str | None
    model: str | None
    amount_usd: ExactUSD


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger beside a vendor's bill."""

    ok: bool
    """Whether they agree, but for a cent by day and model."""
    billed_usd: ExactUSD
    booked_usd: ExactUSD
    to_book_usd: ExactUSD
    rates: list[str]
    """What amounts in other currencies were converted by."""
    rows: list[ReconciledRow]
    booked: list[BookedLine]
    """What was booked, if that was asked for; the rows are from before."""
