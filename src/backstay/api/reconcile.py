"""Owns the comparison of the ledger with a vendor's bill on Backstay's own API, and the booking of what differs."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from backstay.access import AuditLog
from backstay.api.bill_shapes import Bill, BilledRow, BookedLine, ReconciledRow, Reconciliation
from backstay.api.endpoint import Asked, Nothing
from backstay.core.caller import DEFAULT_TENANT, Caller
from backstay.core.currencies import Currencies, read_amount, to_nanousd
from backstay.core.errors import Conflict, Forbidden, InvalidRequest
from backstay.core.money import NanoUSD, from_usd, usd
from backstay.ledger import CostRow, LedgerStore
from backstay.ledger.adjustments import Adjustment, Adjustments, Posting, share_out
from backstay.ledger.reconcile import Billed, Booked, Compared, compare, model_key
from backstay.store import Database

_LONGEST = dt.timedelta(days=366)
_MOST_GROUPS = 200_000
_BOOKING_S = 300.0

_Place = tuple[dt.date, str | None, str | None]
_Costs = dict[_Place, dict[str, int]]
"""What each tenant's calls cost, by day, key and model."""


class ReconcileDeps(Protocol):
    """The rooms that a comparison reads and writes."""

    @property
    def database(self) -> Database: ...
    @property
    def ledger(self) -> LedgerStore: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def currencies(self) -> Callable[[], Currencies]: ...


async def reconcile(deps: ReconcileDeps, asked: Asked[Nothing, Bill]) -> Reconciliation:
    """Compare a bill with what calls cost at these providers; and book what differs, if that is asked for."""
    bill, caller = asked.body, asked.caller
    rates: dict[str, None] = {}
    rows = [_billed(number, row, deps.currencies(), rates) for number, row in enumerate(bill.rows)]
    if bill.all_tenants and not _is_operator(caller):
        raise Forbidden("all_tenants is for the installation's operator, or an admin of its own tenant.")
    if twice := next((name for name in bill.keys.values() if list(bill.keys.values()).count(name) > 1), None):
        raise InvalidRequest(f"keys: the provider {twice!r} has two keys. Give each key one of its own.", param="keys")
    if rows and max(row.day for row in rows) - min(row.day for row in rows) > _LONGEST:
        raise InvalidRequest("The bill is longer than a year. Compare it year by year.", param="rows")
    if bill.book is None or not rows:
        compared, _ = await _compared(deps, bill, rows, caller)
        return _answer(compared, list(rates), [])
    async with deps.database.system(timeout_s=_BOOKING_S) as connection:
        adjustments = Adjustments(deps.database)
        await adjustments.hold(connection)
        compared, costs = await _compared(deps, bill, rows, caller)
        total = sum(each.to_book_nanousd for each in compared)
        _check_agreed(bill.book.amount_usd, NanoUSD(total))
        own = DEFAULT_TENANT if bill.all_tenants else caller.tenant_id
        provider = ",".join(sorted(_providers(bill)))
        booked = await adjustments.book(
            connection, list(_postings(compared, costs, own)), file=bill.book.file, provider=provider, by=caller.id
        )
        if booked:
            amount = usd(NanoUSD(sum(posting.amount for posting in booked)))
            detail = {"amount_usd": amount, "lines": len(booked), "all_tenants": bill.all_tenants}
            await deps.audit.note(connection, caller, "costs.adjust", provider, **detail)
    return _answer(compared, list(rates), booked)


def _is_operator(caller: Caller) -> bool:
    return caller.kind == "operator" or (caller.tenant_id == DEFAULT_TENANT and caller.may("admin"))


def _providers(bill: Bill) -> frozenset[str]:
    return frozenset(bill.keys.values() or bill.providers)


def _check_agreed(agreed: str | None, total: NanoUSD) -> None:
    """Raise ``Conflict`` where something else is to be booked by now than somebody has agreed to."""
    try:
        expected = total if agreed is None else from_usd(agreed)
    except ValueError:
        raise InvalidRequest("book.amount_usd must be an amount in US dollars, as in 1.25.", param="book") from None
    if total and expected != total:
        raise Conflict(f"${usd(total)} are to be booked by now, not ${usd(expected)}. Look at the comparison again.")


async def _compared(
    deps: ReconcileDeps, bill: Bill, rows: Sequence[Billed], caller: Caller
) -> tuple[list[Compared], _Costs]:
    """Compare with the books as they are, of one tenant or of all."""
    if not rows:
        return [], {}
    adjustments = Adjustments(deps.database)
    first, until = min(row.day for row in rows), max(row.day for row in rows) + dt.timedelta(days=1)
    booked: list[Booked] = []
    costs: _Costs = {}
    for tenant in await adjustments.tenants() if bill.all_tenants else [caller.tenant_id]:
        found = await deps.ledger.costs(
            tenant, by=["day", "target"], since=_midnight(first), until=_midnight(until), limit=_MOST_GROUPS
        )
        for row in _booked(found, bill):
            booked.append(row)
            for model in (model_key(row.model or ""), None):
                of_tenant = costs.setdefault((row.day, row.key, model), {})
                of_tenant[tenant] = of_tenant.get(tenant, 0) + row.cost_nanousd
        earlier = await adjustments.read(tenant, first=first, until=until)
        booked += [each.as_booked(by_key=bool(bill.keys)) for each in earlier if _is_of(each, bill)]
    return compare(rows, booked), costs


def _is_of(adjustment: Adjustment, bill: Bill) -> bool:
    """Whether an earlier adjustment is part of what is compared: key by key, only those that are of a key."""
    return adjustment.is_of(_providers(bill)) and (not bill.keys or adjustment.vendor_key in bill.keys)


def _postings(compared: Iterable[Compared], costs: _Costs, own: str) -> Iterable[Posting]:
    for line in compared:
        if line.to_book_nanousd:
            shares = share_out(line.to_book_nanousd, costs.get((line.day, line.key, line.model), {}), own)
            yield from (Posting(tenant_id=tenant, line=line, amount=amount) for tenant, amount in shares.items())


def _billed(number: int, row: BilledRow, currencies: Currencies, rates: dict[str, None]) -> Billed:
    cost = _cost(number, row, currencies, rates)
    if cost is not None and abs(cost) >= 2**62:
        raise InvalidRequest(f"rows[{number}].cost_usd is more than the books can hold.", param="rows")
    if not 1970 <= row.day.year < 9000:
        raise InvalidRequest(f"rows[{number}].day must be from 1970 to 8999.", param="rows")
    return Billed(
        day=row.day,
        model=row.model,
        key=row.vendor_key,
        cost_nanousd=cost,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
    )


def _cost(number: int, row: BilledRow, currencies: Currencies, rates: dict[str, None]) -> NanoUSD | None:
    """Read what was billed, in US dollars; and note by which rate, where it was not. Raises ``InvalidRequest``."""
    if row.cost is None or row.cost_usd is not None:
        try:
            return None if row.cost_usd is None else from_usd(row.cost_usd)
        except ValueError:
            raise InvalidRequest(
                f"rows[{number}].cost_usd must be an amount in US dollars, as in 1.25.", param="rows"
            ) from None
    try:
        amount = read_amount(row.cost)
        rate = currencies.rate(amount.currency, _midnight(row.day))
    except ValueError as error:
        raise InvalidRequest(f"rows[{number}].cost: {error}.", param="rows") from None
    if amount.currency != "USD":
        rates[str(rate)] = None
    return to_nanousd(amount, rate)


def _booked(rows: Iterable[CostRow], bill: Bill) -> Iterable[Booked]:
    keys: Mapping[str, str | None] = {provider: key for key, provider in bill.keys.items()}
    for row in rows:
        provider, _, model_id = (row.target or "").partition("/")
        if provider in _providers(bill) and row.day is not None:
            yield Booked(
                day=row.day.astimezone(dt.UTC).date(),
                model=model_id,
                key=keys.get(provider),
                calls=row.calls,
                cost_nanousd=row.cost_nanousd,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                unknown=row.unknown_cost_calls,
                estimated=row.estimated_attempts,
                unconfirmed=row.unconfirmed_attempts,
            )


def _answer(compared: Sequence[Compared], rates: list[str], booked: Sequence[Posting]) -> Reconciliation:
    return Reconciliation(
        ok=not any(each.causes for each in compared),
        billed_usd=usd(NanoUSD(sum(each.billed.cost_nanousd or 0 for each in compared if each.billed))),
        booked_usd=usd(NanoUSD(sum(each.booked.cost_nanousd for each in compared if each.booked))),
        to_book_usd=usd(NanoUSD(sum(each.to_book_nanousd for each in compared))),
        rates=rates,
        rows=[_row(each) for each in compared],
        booked=[
            BookedLine(
                tenant=posting.tenant_id,
                day=posting.line.day,
                vendor_key=posting.line.key,
                model=posting.line.model,
                amount_usd=usd(posting.amount),
            )
            for posting in booked
        ],
    )


def _row(each: Compared) -> ReconciledRow:
    billed, booked = each.billed, each.booked
    difference = each.difference_nanousd
    return ReconciledRow(
        day=each.day,
        model=each.model,
        vendor_key=each.key,
        calls=booked.calls if booked else 0,
        billed_usd=None if billed is None or billed.cost_nanousd is None else usd(billed.cost_nanousd),
        booked_usd=usd(booked.cost_nanousd if booked else NanoUSD(0)),
        adjusted_usd=usd(booked.adjusted_nanousd if booked else NanoUSD(0)),
        difference_usd=None if difference is None else usd(difference),
        to_book_usd=usd(each.to_book_nanousd),
        billed_input_tokens=billed.input_tokens if billed else None,
        booked_input_tokens=booked.input_tokens if booked else 0,
        billed_output_tokens=billed.output_tokens if billed else None,
        booked_output_tokens=booked.output_tokens if booked else 0,
        causes=list(each.causes),
    )


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)
