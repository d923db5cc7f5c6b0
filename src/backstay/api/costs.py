"""Owns the API's reports on costs beyond sums: the dearest calls, waste, exports, invoices."""

import datetime as dt
from collections.abc import Callable
from typing import Protocol

from starlette.responses import Response, StreamingResponse

from backstay.api.answers import call_row
from backstay.api.cost_shapes import (
    DearestCalls,
    DearestQuery,
    ExportQuery,
    Invoice,
    InvoiceLine,
    InvoiceQuery,
    WasteQuery,
    WasteReport,
    WasteRow,
)
from backstay.api.endpoint import Asked, Nothing
from backstay.api.filters import call_filter, own_key, window
from backstay.cache import Cache
from backstay.core.currencies import USD, Currencies
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, usd
from backstay.ledger import CostRow, LedgerStore
from backstay.ledger.adjustments import Adjustment, Adjustments
from backstay.ledger.export import LedgerExport
from backstay.ledger.invoice import write_invoice
from backstay.store import Database
from backstay.tracing import TraceStore

_ALL_LINES = 1_000_000
_ROUNDING = "Each line's amount is rounded half to even at the nano-dollar; what is due, once, to the cent."
_CONVERTED = "What is due in another currency is converted from the sum and rounded once, to what can be paid in it."
_MEDIA = {"csv": "text/csv; charset=utf-8", "focus": "text/csv; charset=utf-8",
          "parquet": "application/vnd.apache.parquet"}  # fmt: skip


class CostDeps(Protocol):
    """The rooms that reports on costs read."""

    @property
    def ledger(self) -> LedgerStore: ...
    @property
    def traces(self) -> TraceStore: ...
    @property
    def cache(self) -> Cache: ...
    @property
    def export(self) -> LedgerExport: ...
    @property
    def database(self) -> Database: ...
    @property
    def currencies(self) -> Callable[[], Currencies]: ...


async def dearest(deps: CostDeps, asked: Asked[DearestQuery, Nothing]) -> DearestCalls:
    wanted = call_filter(asked.caller, asked.query)
    calls = await deps.traces.dearest_calls(asked.caller.tenant_id, wanted, limit=asked.query.limit)
    return DearestCalls(requests=[call_row(call) for call in calls])


async def waste(deps: CostDeps, asked: Asked[WasteQuery, Nothing]) -> WasteReport:
    tenant_id, own = asked.caller.tenant_id, own_key(asked.caller)
    since, until = window(asked.query.since, asked.query.until)
    found = await deps.ledger.unused(tenant_id, since=since, until=until, key_id=own)
    (total,) = await deps.ledger.costs(tenant_id, since=since, until=until, key_id=own)
    models = await deps.traces.models(tenant_id, since=since, until=until, key_id=own)
    answered = sum(figures.calls - figures.errors for figures in models)
    caches = await deps.cache.stats(tenant_id, since=since.date()) if own is None else []
    return WasteReport(
        since=since,
        until=until,
        cost_usd=usd(total.cost_nanousd),
        answered_calls=answered,
        cost_per_answered_call_usd=usd(NanoUSD(round(total.cost_nanousd / answered))) if answered else None,
        wasted_usd=usd(NanoUSD(sum(row.cost_nanousd for row in found))),
        waste=[
            WasteRow(
                reason=row.reason,
                attempts=row.attempts,
                cost_usd=usd(row.cost_nanousd),
                unknown_cost_attempts=row.unknown_cost_attempts,
            )
            for row in found
        ],
        cache_hits=sum(group.hits + group.semantic_hits for group in caches) if own is None else None,
        cache_saved_usd=usd(NanoUSD(sum(group.saved_nanousd for group in caches))) if own is None else None,
    )


async def export(deps: CostDeps, asked: Asked[ExportQuery, Nothing]) -> Response:
    """Stream the entries of a time. A stream that breaks lacks its last chunk, so that nobody takes it for whole."""
    query, tenant_id, own = asked.query, asked.caller.tenant_id, own_key(asked.caller)
    since, until = window(query.since, query.until)
    (total,) = await deps.ledger.costs(tenant_id, since=since, until=until, key_id=own)
    name = f"backstay-{query.format}.{'parquet' if query.format == 'parquet' else 'csv'}{'.gz' if query.gzip else ''}"
    headers = {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="{name}"',
        "x-backstay-unknown-cost-calls": str(total.unknown_cost_calls),
    }
    media_type = "application/gzip" if query.gzip else _MEDIA[query.format]
    if asked.request.method == "HEAD":
        return Response(headers=headers, media_type=media_type)
    blocks = await deps.export.stream(tenant_id, query.format, since=since, until=until, key_id=own, gzip=query.gzip)
    return StreamingResponse(blocks, media_type=media_type, headers=headers)


async def invoice(deps: CostDeps, asked: Asked[InvoiceQuery, Nothing]) -> Invoice:
    month, tenant_id = asked.query.month, asked.caller.tenant_id
    year, number = int(month[:4]), int(month[5:])
    since = dt.datetime(year, number, 1, tzinfo=dt.UTC)
    until = dt.datetime(year + number // 12, number % 12 + 1, 1, tzinfo=dt.UTC)
    try:
        rate = deps.currencies().rate(asked.query.currency, until - dt.timedelta(days=1))
    except ValueError as error:
        raise InvalidRequest(f"currency: {error}.", param="currency") from None
    rows = await deps.ledger.costs(
        tenant_id, by=("model", "feature", "key"), since=since, until=until, limit=_ALL_LINES
    )
    adjusted = await Adjustments(deps.database).read(tenant_id, first=since.date(), until=until.date())
    rows += [_adjustment_row(each) for each in adjusted]
    bill = write_invoice(rows, asked.query.markup, rate)
    return Invoice(
        tenant=tenant_id,
        month=month,
        since=since,
        until=until,
        markup_percent=asked.query.markup,
        lines=[
            InvoiceLine(
                model=row.model or "",
                feature=row.feature,
                key=row.key,
                calls=row.calls,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                cost_usd=usd(row.cost_nanousd),
                amount_usd=usd(amount),
                amount=f"{converted:f}",
                unknown_cost_calls=row.unknown_cost_calls,
            )
            for row, amount, converted in bill.lines
        ],
        cost_usd=usd(bill.cost_nanousd),
        amount_usd=usd(bill.amount_nanousd),
        due_usd=bill.due_usd,
        currency=rate.currency,
        amount=f"{bill.amount:f}",
        due=bill.due,
        rate=None if rate is USD else str(rate),
        unknown_cost_calls=sum(row.unknown_cost_calls for row in rows),
        rounding=_ROUNDING if rate is USD else f"{_ROUNDING} {_CONVERTED}",
    )


def _adjustment_row(adjustment: Adjustment) -> CostRow:
    """Make a line of an invoice of what a vendor's bill differed by from the ledger."""
    return CostRow(
        model=f"adjustment of {adjustment.day}: {adjustment.model or 'no model'}",
        calls=0,
        input_tokens=0,
        output_tokens=0,
        cost_nanousd=adjustment.amount_nanousd,
        unknown_cost_calls=0,
    )
