"""Owns the page of costs: who spends what, and what changed."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from starlette.responses import Response

from backstay.console.budgets import STATES, burning
from backstay.console.format import change
from backstay.console.names import key_names
from backstay.console.render import href
from backstay.console.spend import FILTERS, spend_plot, spend_series
from backstay.console.tables import csv_file
from backstay.console.visit import Visit
from backstay.console.window import Window, read_window
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, usd
from backstay.ledger import CostRow, Dimension

_SHOWN = 50
_MOVERS = 6
_BUDGETS = 6


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table: its names in the order of the dimensions, and where its calls are."""

    names: tuple[str, ...]
    row: CostRow
    per_call: int | None
    moved: str | None
    href: str


class Mover(msgspec.Struct, frozen=True, kw_only=True):
    """A group whose cost changed between the time before and this one."""

    name: str
    href: str
    now_nanousd: int
    before_nanousd: int

    @property
    def moved_nanousd(self) -> int:
        return self.now_nanousd - self.before_nanousd


async def show(visit: Visit) -> Response:
    """Show spend over time and by one or two dimensions, or the table as CSV."""
    window = read_window(visit.query, visit.now, "7d")
    by = _dimensions(visit.query)
    rows = await _costs(visit, window, by)
    if visit.query.get("format") == "csv":
        return _csv(by, rows)
    labels = await key_names(visit) if "key" in by else {}
    series = await spend_series(visit, window, by[0], labels)
    (total,) = await _costs(visit, window, ())
    (before,) = await _costs(visit, _earlier(window), ())
    earlier = {_names(row, by): row for row in await _costs(visit, _earlier(window), by)}
    return visit.page(
        "costs.html",
        window=window,
        by=by,
        dimensions=list(FILTERS),
        series=series,
        plot=spend_plot(window, series),
        total=total,
        moved=change(total.cost_nanousd, before.cost_nanousd),
        per_call=_per_call(total),
        budgets=await burning(visit, _BUDGETS),
        states=STATES,
        movers=_movers({_names(row, by): row for row in rows}, earlier, by, labels, window),
        unused=await visit.deps.ledger.unused(visit.tenant_id, since=window.since, until=window.until),
        lines=[_line(row, by, earlier, labels, window) for row in rows[:_SHOWN]],
        more=len(rows) - _SHOWN,
        largest=max((row.cost_nanousd for row in rows), default=0),
    )


def _dimensions(query: Mapping[str, str]) -> tuple[Dimension, ...]:
    wanted = [name for name in (query.get("by", ""), query.get("then", "")) if name]
    for name in wanted:
        if name not in FILTERS:
            raise InvalidRequest(f"Costs cannot be split by {name!r}. Choose from {', '.join(FILTERS)}.", param="by")
    return cast(tuple[Dimension, ...], tuple(dict.fromkeys(wanted or ["model"])))


async def _costs(visit: Visit, window: Window, by: Sequence[Dimension]) -> list[CostRow]:
    return await visit.deps.ledger.costs(visit.tenant_id, by=by, since=window.since, until=window.until)


def _earlier(window: Window) -> Window:
    return msgspec.structs.replace(
        window, name="", since=window.since - (window.until - window.since), until=window.since
    )


def _movers(
    now: Mapping[tuple[str, ...], CostRow],
    before: Mapping[tuple[str, ...], CostRow],
    by: Sequence[Dimension],
    labels: Mapping[str, str],
    window: Window,
) -> list[Mover]:
    """Find what changed most, up or down, what is new and what is gone included."""
    found = [
        Mover(
            name=", ".join(name or "none" for name in _shown(names, by, labels)),
            href=_calls_of(names, by, window if names in now else _earlier(window)),
            now_nanousd=now[names].cost_nanousd if names in now else 0,
            before_nanousd=before[names].cost_nanousd if names in before else 0,
        )
        for names in {**now, **before}
    ]
    moved = [mover for mover in found if mover.moved_nanousd]
    return sorted(moved, key=lambda mover: (-abs(mover.moved_nanousd), mover.name))[:_MOVERS]


def _shown(names: tuple[str, ...], by: Sequence[Dimension], labels: Mapping[str, str]) -> tuple[str, ...]:
    """Give the names that people know."""
    return tuple(
        labels.get(name, name) if dimension == "key" else name for dimension, name in zip(by, names, strict=True)
    )


def _calls_of(names: tuple[str, ...], by: Sequence[Dimension], window: Window) -> str:
    query = {FILTERS[dimension]: name for dimension, name in zip(by, names, strict=True)}
    return href("/traces", {**query, **window.query})


def _line(
    row: CostRow,
    by: Sequence[Dimension],
    earlier: Mapping[tuple[str, ...], CostRow],
    labels: Mapping[str, str],
    window: Window,
) -> Line:
    names = _names(row, by)
    then = earlier.get(names)
    return Line(
        names=_shown(names, by, labels),
        row=row,
        per_call=_per_call(row),
        moved=change(row.cost_nanousd, then.cost_nanousd) if then else "new",
        href=_calls_of(names, by, window),
    )


def _names(row: CostRow, by: Sequence[Dimension]) -> tuple[str, ...]:
    return tuple(getattr(row, dimension) or "" for dimension in by)


def _per_call(row: CostRow) -> int | None:
    known = row.calls - row.unknown_cost_calls
    return round(row.cost_nanousd / known) if known else None


def _csv(by: Sequence[Dimension], rows: Sequence[CostRow]) -> Response:
    header = [*by, "calls", "input_tokens", "output_tokens", "cost_usd", "unknown_cost_calls"]
    table: list[list[Any]] = [
        [
            *_names(row, by),
            row.calls,
            row.input_tokens,
            row.output_tokens,
            usd(NanoUSD(row.cost_nanousd)),
            row.unknown_cost_calls,
        ]
        for row in rows
    ]
    return csv_file("costs", header, table)
