"""Owns spend over time as series of a plot."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from backstay.console.format import money
from backstay.console.plots import SERIES_COLOURS, Series, StackedBars, stacked_bars, strongest
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.console.window import Window
from backstay.ledger import CostRow, Dimension
from backstay.ledger.views import SpendPoint

FILTERS: dict[str, str] = {
    "model": "model",
    "feature": "feature",
    "user": "user",
    "target": "charged_by",
    "key": "key",
    "tag": "tag",
}
"""Dimensions that spend can be split by, each with the filter of the traces page that shows its rows."""


async def spend_series(
    visit: Visit,
    window: Window,
    by: Dimension,
    labels: Mapping[str, str] | None = None,
    *,
    dearest: Sequence[CostRow] | None = None,
) -> tuple[Series, ...]:
    """Read what each of the strongest series cost in each bucket of the window, the largest first.

    ``dearest``: the window's report by user alone, where the caller has read it.
    """
    if by == "user":
        return await _users_series(visit, window, dearest)
    points = await visit.deps.ledger.spend(
        visit.tenant_id, since=window.since, until=window.until, step=window.bucket, by=by
    )
    return strongest(gather(points, window, by, labels or {}))


async def _users_series(visit: Visit, window: Window, dearest: Sequence[CostRow] | None) -> tuple[Series, ...]:
    """Read the buckets of the dearest users alone: there may be many thousands. The others are what is left of all."""
    ledger, tenant_id, since, until = visit.deps.ledger, visit.tenant_id, window.since, window.until
    if dearest is None:
        dearest = await ledger.costs(tenant_id, by=("user",), since=since, until=until, limit=SERIES_COLOURS + 1)
    shown = dearest[: SERIES_COLOURS - (len(dearest) > SERIES_COLOURS)]
    spend = partial(ledger.spend, tenant_id, since=since, until=until, step=window.bucket)
    points = await spend(by="user", users=[row.user for row in shown])
    series = strongest(gather(points, window, "user", {}))
    if len(shown) == len(dearest):
        return series
    (whole,) = strongest(gather(await spend(), window, "model", {}), 1)
    rest = tuple(
        (whole.values[bucket] or 0) - sum(one.values[bucket] or 0 for one in series) for bucket in range(window.buckets)
    )
    return (*series, Series(name="", label="others", values=rest))


def gather(points: Sequence[SpendPoint], window: Window, by: str, labels: Mapping[str, str]) -> tuple[Series, ...]:
    """Put points into one row of buckets a series."""
    values: dict[str, list[float | None]] = {}
    for point in points:
        row = values.setdefault(point.name or "", [0.0] * window.buckets)
        index = (point.at - window.origin) // window.bucket
        if 0 <= index < len(row):
            row[index] = (row[index] or 0) + point.cost_nanousd
    return tuple(
        Series(name=name, label=labels.get(name, name) or f"no {by}", values=tuple(row)) for name, row in values.items()
    )


def spend_plot(window: Window, series: Sequence[Series]) -> StackedBars:
    """Lay out spend as stacked bars, each linked to its calls."""

    def link(start: datetime) -> str:
        return href("/traces", window.bucket_query(start))

    return stacked_bars(window.starts, series, write=money, link=link)
