"""Owns the making of answers from the rooms' nouns: rows, trees of spans, cost reports; and the reading of moments."""

import datetime as dt
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backstay.access.types import Instant
from backstay.api.shapes import (
    AttemptCost,
    CallInput,
    CallOutput,
    CallRow,
    CostFigures,
    CostGroup,
    CostItem,
    ModelView,
    SpanView,
    TargetView,
)
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, usd
from backstay.ledger import CostRow, Dimension, LedgerEntry
from backstay.tracing import CallReading, Span, StoredSpan, attributes

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_EARLIEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(9000, 1, 1, tzinfo=dt.UTC)
_DEEPEST = 50


def moment(text: str, now: dt.datetime, param: str) -> dt.datetime:
    """Read a moment, kept between the years 1970 and 9000, in UTC.

    Raises:
        InvalidRequest: It is no span such as 7d, no date, nor RFC 3339 with a zone.
    """
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit and len(number) <= 4 and number.isascii() and number.isdigit():
        return max(_EARLIEST, now - dt.timedelta(**{unit: int(number)}))
    try:
        found = msgspec.convert(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text, Instant)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"`{param}` must be a span such as 15m, 24h or 7d, a date, or a time with its zone such as "
            "2026-05-01T00:00:00Z.",
            param=param,
        ) from None
    return min(max(_EARLIEST, found), _LATEST).astimezone(dt.UTC)  # Postgres takes no offset of 16 hours or more


def call_row(span: Span) -> CallRow:
    """Write a call's root span as a row."""
    return CallRow(**_row_fields(span))


def trace_tree(
    spans: Sequence[StoredSpan], entries: Sequence[LedgerEntry], readings: Mapping[str, CallReading]
) -> list[SpanView]:
    """Put the spans of a trace into a tree. Spans whose parent is not here (the caller's own) stand at the top.

    Parents come from callers' headers, so they may nest without end or in a circle: a branch deeper than 50 goes on at
    the top, and each span stands in the tree once.

    Args:
        entries: What the trace's attempts cost.
        readings: The calls' input and output, by span id.
    """
    below: dict[str | None, list[StoredSpan]] = {}
    known = {span.span_id for span in spans}
    for span in sorted(spans, key=lambda span: span.started_at_ns):
        parent_id = span.parent_id if span.parent_id in known and span.parent_id != span.span_id else None
        below.setdefault(parent_id, []).append(span)

    def view(span: StoredSpan, depth: int) -> SpanView:
        children = below.pop(span.span_id, [])
        if depth == _DEEPEST:
            waiting.extend(children)
            children = []
        reading = readings.get(span.span_id)
        costs = [_attempt_cost(entry) for entry in entries if span.kind == "call" and entry.call_id == span.span_id]
        return SpanView(
            **_row_fields(span),
            span_id=span.span_id,
            parent_id=span.parent_id,
            kind=span.kind,
            name=span.name,
            attributes=attributes(span, reading),
            costs=costs,
            input=reading and _input(span, reading),
            output=reading and _output(span, reading),
            children=[view(child, depth + 1) for child in children],
        )

    waiting = deque(below.pop(None, []))
    tree: list[SpanView] = []
    while waiting or below:
        if not waiting:
            waiting.extend(below.popitem()[1])
        tree.append(view(waiting.popleft(), 1))
    return tree


def cost_group(row: CostRow, by: Sequence[Dimension]) -> CostGroup:
    """Write a group of a cost report."""
    return CostGroup(**_figures(row), **{name: getattr(row, name) for name in by})


def cost_total(row: CostRow) -> CostFigures:
    """Write the total of a cost report."""
    return CostFigures(**_figures(row))


def model_view(model: Any) -> ModelView:
    """Write a model of the catalog, whatever the composition root describes it with."""
    targets = [_target_view(each) for each in model.targets]
    return ModelView(name=model.name, targets=targets, collection=model.collection)


def _target_view(target: Any) -> TargetView:
    prices: Mapping[str, str] | None = target.prices
    return TargetView(
        name=target.name,
        dialect=target.dialect,
        problem=target.problem,
        free=target.is_free,
        prices=None if prices is None else dict(prices),
        price_source=target.price_source,
    )


def _row_fields(span: Span) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id,
        "call_id": span.span_id if span.kind == "call" else span.parent_id or span.span_id,
        "operation": span.operation,
        "model": span.model,
        "target": span.target,
        "status": span.status,
        "error_code": span.error_code,
        "error_message": span.error_message,
        "http_status": span.http_status,
        "stream": span.stream,
        "started_at": dt.datetime.fromtimestamp(span.started_at_ns // 1_000 / 1e6, dt.UTC),
        "duration_ms": _ms(span.duration_ns),
        "first_token_ms": None if span.first_token_ns is None else _ms(span.first_token_ns),
        "input_tokens": span.input_tokens,
        "output_tokens": span.output_tokens,
        "cost_usd": _usd(span.cost_nanousd),
        "user": span.user_id,
        "feature": span.feature,
        "tags": span.tags,
        "key_id": span.key_id,
    }


def _attempt_cost(entry: LedgerEntry) -> AttemptCost:
    return AttemptCost(
        attempt=entry.attempt,
        target=entry.target,
        cost_usd=_usd(entry.cost_nanousd),
        estimated=entry.estimated,
        unconfirmed=entry.unconfirmed,
        price_source=entry.price_source,
        lines=[
            CostItem(
                unit=line.unit,
                quantity=line.quantity,
                usd_per_million=line.usd_per_million,
                amount_usd=usd(line.amount_nanousd),
            )
            for line in entry.lines
        ],
    )


def _input(span: StoredSpan, reading: CallReading) -> CallInput:
    request = reading.request
    return CallInput(
        dialect=span.input_dialect,
        messages=request and request.messages,
        tools=request and request.tools,
        parameters=reading.parameters,
        note=reading.request_note,
        raw=span.input,
    )


def _output(span: StoredSpan, reading: CallReading) -> CallOutput:
    return CallOutput(
        dialect=span.output_dialect,
        choices=reading.response and reading.response.choices,
        note=reading.response_note,
        raw=span.output,
    )


def _figures(row: CostRow) -> dict[str, Any]:
    return {
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": usd(row.cost_nanousd),
        "unknown_cost_calls": row.unknown_cost_calls,
        "estimated_attempts": row.estimated_attempts,
        "unconfirmed_attempts": row.unconfirmed_attempts,
    }


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 3)


def _usd(amount: NanoUSD | None) -> str | None:
    return None if amount is None else usd(amount)
