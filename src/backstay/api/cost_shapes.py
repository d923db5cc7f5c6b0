"""Owns the shapes of the API's reports on costs: the dearest calls, waste, exports, invoices."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from backstay.access.checks import Name
from backstay.access.types import Instant
from backstay.api.shapes import CallQuery, CallRow, ExactUSD, Moment
from backstay.ledger.export import Format
from backstay.ledger.savings import Kind
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
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$", description="One that the policy has a rate for.")] = "USD"


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
    amount: str
    """The same in the invoice's currency."""
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
    currency: str
    amount: str
    """In the invoice's currency: what the lines' amounts in it add up to."""
    due: str
    """`amount_usd` in the invoice's currency, rounded half to even to the smallest amount that can be paid in it."""
    rate: str | None
    """What the amounts in it are converted by, with the first day of the rate: that of the month's last day. `null`: US
    dollars."""
    unknown_cost_calls: int
    """Calls of unknown cost, for which nothing is asked."""
    rounding: str


class WhatIfQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: Annotated[Name, Meta(description="Whose traffic: a model's or a target's name.")]
    to: Annotated[Name, Meta(description="At whose prices; by default the same.")] | None = None
    since: Moment = "30d"
    until: Moment | None = None


Way = Literal["standard", "batch", "prompt_cache"]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What the traffic would have cost in one way."""

    name: Way
    cost_usd: ExactUSD | None
    """`null` where a price is not known."""
    difference_usd: ExactUSD | None
    """Less what it did cost; `null` where either is not known."""


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """A model's traffic at other prices: today's, rounded once for each tier of input length."""

    since: Instant
    until: Instant
    model: str
    to: str
    target: str
    attempts: int
    input_tokens: int
    output_tokens: int
    cost_usd: ExactUSD
    """What they did cost, as far as it is known."""
    unknown_cost_attempts: int
    unknown_usage_attempts: int
    """Those left out."""
    scenarios: list[Scenario]
    prompt_cache_is_partial: bool
    """Whether there were more calls than were looked through, so that prompts' caching would have saved more."""
    note: str


class SavingsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since: Moment = "7d"
    until: Moment | None = None


class SavingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Money that one change would have saved."""

    kind: Kind
    amount_usd: ExactUSD
    calls: int
    model: str
    target: str | None
    feature: str | None
    key_id: str | None
    prefix_tokens: int | None
    """Of `prompt_cache`, estimated by the beginning's share of the prompt's bytes."""
    trace_id: str
    """One of the calls."""
    advice: str


class SavingsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What could have been saved, the largest first. Savings of different kinds may be on the same calls."""

    since: Instant
    until: Instant
    read_calls: int
    is_partial: bool
    """Whether there were more calls than were read, which are the newest."""
    savings: list[SavingRow]
