"""Owns the plot of the month that runs: what is spent so far, and the band in which its end is expected."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from backstay.console.format import money
from backstay.console.plots import GRID_LINES, Tick, nice_step
from backstay.console.visit import Visit
from backstay.ledger.forecasts import Outlook, month_of

_HEIGHT = 120.0
_DAY = timedelta(days=1)

Point = tuple[datetime, float]


class DayRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table beside the plot: sums since the month began, at the end of a day."""

    at: datetime
    spent_nanousd: int | None = None
    low_nanousd: int | None = None
    expected_nanousd: int | None = None
    high_nanousd: int | None = None


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """The plot, in a box as wide as 100 and as high as ``height``. Without a forecast there is no line ahead."""

    outlook: Outlook
    height: float
    ticks: tuple[Tick, ...]
    spent: str
    """Points of a line, as ``area`` of what is under it."""
    area: str
    ahead: str
    band: str
    labels: tuple[tuple[float, datetime], ...]
    """Where days stand below it, in per cent."""
    rows: tuple[DayRow, ...]


async def read_month(visit: Visit) -> Month:
    """Forecast the month that runs."""
    total, _ = await visit.deps.forecasts.month(visit.tenant_id, visit.now)
    return lay_out(total, visit.now)


def lay_out(total: Outlook, now: datetime) -> Month:
    """Place what is spent and what is expected. The band opens in step with what is expected."""
    starts, ends = month_of(now)
    spent = _sums(starts, 0.0, total.past, now)
    expected = _sums(now, float(total.spent_nanousd), total.daily, ends)
    low, high = (_toward(expected, end) for end in (total.low_nanousd, total.high_nanousd))
    largest = max(amount for _, amount in (*spent, *expected, *high))
    step = nice_step(largest)
    scale = _HEIGHT / (step * GRID_LINES)

    def points(sums: Sequence[Point]) -> str:
        return " ".join(f"{_x(at, starts, ends):.2f},{_HEIGHT - amount * scale:.2f}" for at, amount in sums)

    below = [(at, 0.0) for at, _ in (spent[-1], spent[0])]
    return Month(
        outlook=total,
        height=_HEIGHT,
        ticks=tuple(
            Tick(y=round(_HEIGHT - line * step * scale, 2), text=_round(money(int(line * step))))
            for line in range(GRID_LINES + 1)
        ),
        spent=points(spent),
        area=points([*spent, *below]),
        ahead=points(expected) if total.expected_nanousd is not None else "",
        band=points([*low, *reversed(high)]) if low and high else "",
        labels=tuple((_x(at, starts, ends), at) for at in (starts + day * _DAY for day in range(0, 28, 7))),
        rows=(
            *(DayRow(at=at, spent_nanousd=round(amount)) for at, amount in spent[1:]),
            *_rows_ahead(expected[1:], low[1:], high[1:]),
        ),
    )


def _sums(at: datetime, amount: float, days: Sequence[tuple[datetime, float]], ends: datetime) -> list[Point]:
    """Add days up: each point is at the end of one, the last one at ``ends``."""
    found = [(at, amount)]
    for day, more in days:
        amount += more
        found.append((min(day + _DAY, ends), amount))
    return found


def _toward(expected: Sequence[Point], end: int | None) -> list[Point]:
    """Bend a line so that it comes to another end."""
    if end is None:
        return []
    begins, total = expected[0][1], expected[-1][1]
    ratio = (end - begins) / (total - begins) if total > begins else 1.0
    return [(at, begins + (amount - begins) * ratio) for at, amount in expected]


def _rows_ahead(expected: Sequence[Point], low: Sequence[Point], high: Sequence[Point]) -> list[DayRow]:
    ends = zip(low, high, strict=True) if low and high else [(None, None)] * len(expected)
    return [
        DayRow(
            at=at,
            expected_nanousd=round(amount),
            low_nanousd=None if least is None else round(least[1]),
            high_nanousd=None if most is None else round(most[1]),
        )
        for (at, amount), (least, most) in zip(expected, ends, strict=True)
    ]


def _round(text: str) -> str:
    """Leave the cents out where there are none: sums of a month are long."""
    return text.removesuffix(".00")


def _x(at: datetime, starts: datetime, ends: datetime) -> float:
    return round(100 * ((at - starts) / (ends - starts)), 3)
