"""Owns the page of costs: who spends what, and what changed."""

import asyncio
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

import msgspec
from starlette.responses import Response

from backstay.console.budgets import STATES, burning
from backstay.console.format import change
from backstay.console.month import read_month
from backstay.console.names import key_names
from backstay.console.spend import FILTERS, spend_plot, spend_series
from backstay.console.tables import csv_file
from backstay.console.traces import rows_link
from backstay.console.visit import Visit
from backstay.console.window import Window, read_window
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, usd
from backstay.ledger import CostRow, Dimension
from backstay.ledger.store import MOST_ROWS

_SHOWN = 50
_MOVERS = 6
_USERS = 200
"""Rows by user that are read: a report of so many skips most users."""
_ALL = 1_000_000
"""Rows of a report that leaves none out."""
_BUDGETS = 6


_Groups = dict[tuple[str, ...], CostRow]
"""A report's rows by their names, in the order of the dimensions."""


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
    if visit.query.get("format") == "csv":
        return _csv(by, await _costs(visit, window, by))
    then, most = _earlier(window), _most(by)
    (rows, users), (rows_then, _), (total,), (before,), unused = await asyncio.gather(
        _groups(visit, window, by, most),
        _groups(visit, then, by, most),
        _costs(visit, window, ()),
        _costs(visit, then, ()),
        visit.deps.ledger.unused(visit.tenant_id, since=window.since, until=window.until),
    )
    labels = await key_names(visit) if "key" in by else {}
    series, (now, earlier), month, budgets = await asyncio.gather(
        spend_series(visit, window, by[0], labels, dearest=users),
        _compared(visit, window, by, rows, rows_then),
        read_month(visit),
        burning(visit, _BUDGETS),
    )
    return visit.page(
        "costs.html",
        window=window,
        by=by,
        dimensions=list(FILTERS),
        series=series,
        plot=spend_plot(window, series),
        month=month,
        total=total,
        moved=change(total.cost_nanousd, before.cost_nanousd),
        per_call=_per_call(total),
        budgets=budgets,
        states=STATES,
        movers=_movers(now, earlier, by, labels, window),
        unused=unused,
        lines=[_line(row, by, earlier, labels, window) for row in rows[:_SHOWN]],
        has_more=len(rows) > _SHOWN,
        largest=max((row.cost_nanousd for row in rows), default=0),
    )


def _dimensions(query: Mapping[str, str]) -> tuple[Dimension, ...]:
    wanted = [name for name in (query.get("by", ""), query.get("then", "")) if name]
    for name in wanted:
        if name not in FILTERS:
            raise InvalidRequest(f"Costs cannot be split by {name!r}. Choose from {', '.join(FILTERS)}.", param="by")
    return cast(tuple[Dimension, ...], tuple(dict.fromkeys(wanted or ["model"])))


async def _costs(visit: Visit, window: Window, by: Sequence[Dimension], limit: int = MOST_ROWS) -> list[CostRow]:
    return await visit.deps.ledger.costs(visit.tenant_id, by=by, since=window.since, until=window.until, limit=limit)


async def _groups(
    visit: Visit, window: Window, by: Sequence[Dimension], most: int
) -> tuple[list[CostRow], list[CostRow] | None]:
    """Read a report, and the dearest users alone where it is by users."""
    if _has_left_out(by) and len(by) > 1:
        return await visit.deps.ledger.costs_by_user(
            visit.tenant_id, by=by, since=window.since, until=window.until, limit=most
        )
    rows = await _costs(visit, window, by, limit=most)
    return rows, rows if by == ("user",) else None


def _most(by: Sequence[Dimension]) -> int:
    return _USERS if _has_left_out(by) else MOST_ROWS


def _has_left_out(by: Sequence[Dimension]) -> bool:
    """Whether what a report left out can be looked up by its users."""
    return "user" in by and "tag" not in by


async def _compared(
    visit: Visit, window: Window, by: Sequence[Dimension], rows: Sequence[CostRow], rows_then: Sequence[CostRow]
) -> tuple[_Groups, _Groups]:
    """Give the dearest groups of this time and of the time before, each with what the other's cost in it.

    What a report left out costs as much as its last row at most, so that only those groups are looked up that are shown
    or may have moved most; the others are in neither.
    """
    now, earlier = ({_names(row, by): row for row in part} for part in (rows, rows_then))
    if not _has_left_out(by):
        return now, earlier
    least_now, least_then = (part[-1].cost_nanousd if len(part) == _USERS else 0 for part in (rows, rows_then))
    moved = [abs(now[names].cost_nanousd - earlier[names].cost_nanousd) for names in now.keys() & earlier.keys()]
    moved += [row.cost_nanousd - least_then for names, row in now.items() if names not in earlier]
    moved += [row.cost_nanousd - least_now for names, row in earlier.items() if names not in now]
    bound = sorted(moved, reverse=True)[:_MOVERS][-1] if len(moved) >= _MOVERS else 0
    shown = {_names(row, by) for row in rows[:_SHOWN]}
    gone = {n for n, row in earlier.items() if n not in now and max(row.cost_nanousd, least_now) >= bound}
    new = {
        n for n, row in now.items() if n not in earlier and (n in shown or max(row.cost_nanousd, least_then) >= bound)
    }
    found, found_then = await asyncio.gather(
        _left_out(visit, window, by, gone if least_now else set()),
        _left_out(visit, _earlier(window), by, new if least_then else set()),
    )
    known = now.keys() & earlier.keys() | gone | new | (shown & now.keys())
    now, earlier = now | found, earlier | found_then
    return ({n: row for n, row in now.items() if n in known}, {n: row for n, row in earlier.items() if n in known})


async def _left_out(visit: Visit, window: Window, by: Sequence[Dimension], names: Set[tuple[str, ...]]) -> _Groups:
    """Read what groups cost that a report left out since others cost more: it is not nothing."""
    if not names:
        return {}
    # An empty name stands for none, too.
    users = list({name for each in names for name in _users_of(each, by)})
    rows = await visit.deps.ledger.costs(
        visit.tenant_id, by=by, since=window.since, until=window.until, users=users, limit=_ALL
    )
    return {_names(row, by): row for row in rows if _names(row, by) in names}


def _users_of(names: tuple[str, ...], by: Sequence[Dimension]) -> tuple[str | None, ...]:
    user = names[by.index("user")]
    return (user,) if user else (user, None)


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
    return rows_link(window, query, charged="1")


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
