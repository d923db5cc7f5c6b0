"""Owns the comparison of the ledger with a vendor's bill on Backstay's own API."""

import datetime as dt
from collections.abc import Iterable
from typing import Annotated

import msgspec

from backstay.api.endpoint import Asked, Nothing
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, from_usd, usd
from backstay.ledger import CostRow, LedgerStore
from backstay.ledger.reconcile import Billed, Booked, Compared, compare

_MOST_ROWS = 10_000
_LONGEST = dt.timedelta(days=366)
_MOST_GROUPS = 200_000
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class BilledRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor billed for one model on one UTC day. Without a model: the whole day."""

    day: dt.date
    model: _Name | None = None
    cost_usd: str | None = None
    input_tokens: _Count | None = None
    """Cached ones included."""
    output_tokens: _Count | None = None


class Bill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A vendor's bill, and the providers of the policy whose calls it is for."""

    providers: Annotated[list[_Name], msgspec.Meta(min_length=1, max_length=50)]
    rows: Annotated[list[BilledRow], msgspec.Meta(max_length=_MOST_ROWS)]


class ReconciledRow(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of one day and model. ``difference_usd``: billed beyond what is booked."""

    day: dt.date
    model: str | None
    calls: int
    billed_usd: str | None
    booked_usd: str
    difference_usd: str | None
    billed_input_tokens: int | None
    booked_input_tokens: int
    billed_output_tokens: int | None
    booked_output_tokens: int
    causes: list[str]
    """What may explain the difference, the likeliest first; none where they agree."""


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger beside a vendor's bill."""

    ok: bool
    """Whether they agree, but for a cent by day and model."""
    billed_usd: str
    booked_usd: str
    rows: list[ReconciledRow]


async def reconcile(ledger: LedgerStore, asked: Asked[Nothing, Bill]) -> Reconciliation:
    """Compare a bill with what the tenant's calls cost at these providers."""
    bill = asked.body
    rows = [_billed(number, row) for number, row in enumerate(bill.rows)]
    if not rows:
        return Reconciliation(ok=True, billed_usd=usd(NanoUSD(0)), booked_usd=usd(NanoUSD(0)), rows=[])
    first, last = min(row.day for row in rows), max(row.day for row in rows)
    if last - first > _LONGEST:
        raise InvalidRequest("The bill is longer than a year. Compare it year by year.", param="rows")
    found = await ledger.costs(
        asked.caller.tenant_id,
        by=["day", "target"],
        since=_midnight(first),
        until=_midnight(last + dt.timedelta(days=1)),
        limit=_MOST_GROUPS,
    )
    compared = compare(rows, _booked(found, frozenset(bill.providers)))
    return Reconciliation(
        ok=not any(each.causes for each in compared),
        billed_usd=usd(NanoUSD(sum(each.billed.cost_nanousd or 0 for each in compared if each.billed))),
        booked_usd=usd(NanoUSD(sum(each.booked.cost_nanousd for each in compared if each.booked))),
        rows=[_row(each) for each in compared],
    )


def _billed(number: int, row: BilledRow) -> Billed:
    try:
        cost = None if row.cost_usd is None else from_usd(row.cost_usd)
    except ValueError:
        raise InvalidRequest(
            f"rows[{number}].cost_usd must be an amount in US dollars, as in 1.25.", param="rows"
        ) from None
    if cost is not None and abs(cost) >= 2**62:
        raise InvalidRequest(f"rows[{number}].cost_usd is more than the books can hold.", param="rows")
    if not 1970 <= row.day.year < 9000:
        raise InvalidRequest(f"rows[{number}].day must be from 1970 to 8999.", param="rows")
    return Billed(
        day=row.day,
        model=row.model,
        cost_nanousd=cost,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
    )


def _booked(rows: Iterable[CostRow], providers: frozenset[str]) -> Iterable[Booked]:
    for row in rows:
        provider, _, model_id = (row.target or "").partition("/")
        if provider in providers and row.day is not None:
            yield Booked(
                day=row.day.astimezone(dt.UTC).date(),
                model=model_id,
                calls=row.calls,
                cost_nanousd=row.cost_nanousd,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                unknown=row.unknown_cost_calls,
                estimated=row.estimated_attempts,
                unconfirmed=row.unconfirmed_attempts,
            )


def _row(each: Compared) -> ReconciledRow:
    billed, booked = each.billed, each.booked
    difference = each.difference_nanousd
    return ReconciledRow(
        day=each.day,
        model=each.model,
        calls=booked.calls if booked else 0,
        billed_usd=None if billed is None or billed.cost_nanousd is None else usd(billed.cost_nanousd),
        booked_usd=usd(booked.cost_nanousd if booked else NanoUSD(0)),
        difference_usd=None if difference is None else usd(difference),
        billed_input_tokens=billed.input_tokens if billed else None,
        booked_input_tokens=booked.input_tokens if booked else 0,
        billed_output_tokens=billed.output_tokens if billed else None,
        booked_output_tokens=booked.output_tokens if booked else 0,
        causes=list(each.causes),
    )


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
