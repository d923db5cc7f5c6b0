"""Owns the drawing of a budget's window: what is spent of it over time, against its limit. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from backstay.budgets.burn import Burn
from backstay.console.plots import GRID_LINES, Series, Tick, nice_step

_LABELS = 6


class BurnLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the plot, in colour ``number``; points in a box of 100 across and the plot's height."""

    number: int
    label: str
    points: str
    area: str
    """What lies below it; empty but for the first line."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A moment that is written below the plot, at ``x`` per cent."""

    x: float
    at: datetime


class BurnPlot(msgspec.Struct, frozen=True, kw_only=True):
    height: float
    ticks: tuple[Tick, ...]
    lines: tuple[BurnLine, ...]
    limit_y: float
    marks: tuple[Mark, ...]


def burn_moments(burn: Burn, now: datetime) -> list[datetime]:
    """Give the moments that lines of a plot have a value at: the bounds of the window's parts, and now."""
    count = len(burn.spent)
    bounds = [burn.since + (burn.until - burn.since) * index / count for index in range(count + 1)]
    return sorted({*bounds, min(max(now, burn.since), burn.until)})


def spent_line(burn: Burn, moments: Sequence[datetime], now: datetime) -> Series:
    """What was spent by each moment; nothing is known of those to come."""
    values: list[float | None] = []
    for at in moments:
        if at > max(now, burn.since):
            values.append(None)
            continue
        # The part that now lies in holds all of its spending until now.
        ended = int((at - burn.since) / (burn.until - burn.since) * len(burn.spent) + 1e-6)
        is_now = at == moments[-1] or at >= now
        values.append(float(sum(burn.spent[: ended + 1] if is_now else burn.spent[:ended])))
    return Series(name="spent", values=tuple(values))


def even_line(burn: Burn, moments: Sequence[datetime], limit: int) -> Series:
    """What would be spent by each moment if the limit were spent evenly."""
    length = burn.until - burn.since
    return Series(name="spent evenly", values=tuple(limit * ((at - burn.since) / length) for at in moments))


def burn_plot(
    moments: Sequence[datetime],
    lines: Sequence[Series],
    *,
    limit: int,
    write: Callable[[int], str],
    height: float = 150.0,
) -> BurnPlot:
    """Lay lines out over time, with the limit across them.

    Args:
        lines: Each with a value a moment, ``None`` where there is none; the first one is filled.
        write: Turns an amount into words.
    """
    largest = max([limit, *(value or 0 for line in lines for value in line.values)])
    step = nice_step(largest)
    scale = height / (step * GRID_LINES)
    first, length = moments[0], (moments[-1] - moments[0]).total_seconds() or 1.0
    xs = [100 * (at - first).total_seconds() / length for at in moments]
    return BurnPlot(
        height=height,
        ticks=tuple(
            Tick(y=round(height - line * step * scale, 2), text=write(int(line * step)))
            for line in range(GRID_LINES + 1)
        ),
        lines=tuple(_line(number, line, xs, height, scale) for number, line in enumerate(lines, 1)),
        limit_y=round(height - limit * scale, 2),
        marks=tuple(
            Mark(x=round(100 * place / _LABELS, 2), at=first + (moments[-1] - first) * place / _LABELS)
            for place in range(_LABELS)
        ),
    )


def _line(number: int, line: Series, xs: Sequence[float], height: float, scale: float) -> BurnLine:
    run = [(x, height - value * scale) for x, value in zip(xs, line.values, strict=True) if value is not None]
    points = [f"{x:.2f},{y:.2f}" for x, y in run]
    is_filled = number == 1 and run
    return BurnLine(
        number=number,
        label=line.label or line.name,
        points=" ".join(points),
        area=" ".join([f"{run[0][0]:.2f},{height}", *points, f"{run[-1][0]:.2f},{height}"]) if is_filled else "",
    )
