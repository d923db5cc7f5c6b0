"""Owns the geometry of plots: figures in, positions out. Pure; the templates write the SVG.

Positions along x are in per cent, so that a plot fits any width while its text keeps its size; along y in pixels.
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

GRID_LINES = 4
SERIES_COLOURS = 5
SPARK_WIDTH, SPARK_HEIGHT = 100.0, 30.0


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One colour of a plot. ``values`` has one figure a bucket; ``None`` where nothing is known."""

    name: str
    values: tuple[float | None, ...]
    label: str = ""
    """Shown instead of the name, where it is set."""

    @property
    def total(self) -> float:
        return sum(value or 0 for value in self.values)


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    y: float
    text: str


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle of a stacked bar, in colour ``series`` (1 to 5)."""

    series: int
    y: float
    height: float
    text: str


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket's stacked bar. ``text`` says its figures; ``href`` leads to the rows behind it."""

    x: float
    width: float
    at: datetime
    total: str
    segments: tuple[Segment, ...]
    href: str


class StackedBars(msgspec.Struct, frozen=True, kw_only=True):
    height: float
    ticks: tuple[Tick, ...]
    columns: tuple[Column, ...]
    labelled: tuple[Column, ...]
    """The columns that carry a time below them: about six, evenly spaced."""
    legend: tuple[str, ...]


class Spark(msgspec.Struct, frozen=True, kw_only=True):
    """A line without axes in a box of 100 × 30. Gaps stay gaps; each run of figures is one line and one area."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a waterfall: where its bar begins and how long it is, in per cent of the whole."""

    x: float
    width: float


def nice_step(largest: float) -> float:
    """Choose the distance of grid lines: the least round number of which four reach ``largest``."""
    if largest < 1e-9:  # nothing, or what is left of it by rounding
        return 1.0
    least = largest / GRID_LINES
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if factor * power >= least * 0.999999)


def stacked_bars(
    starts: Sequence[datetime],
    series: Sequence[Series],
    *,
    write: Callable[[int], str],
    link: Callable[[datetime], str],
    height: float = 150.0,
) -> StackedBars:
    """Lay out one zero-based bar a bucket, the first series at the bottom.

    ``write`` turns an amount into words; ``link`` gives the address of a bucket's rows.
    """
    totals = [sum(one.values[index] or 0 for one in series) for index in range(len(starts))]
    step = nice_step(max(totals, default=0))
    scale = height / (step * GRID_LINES)
    slot = 100 / max(len(starts), 1)
    columns = tuple(
        Column(
            x=round(index * slot + slot * 0.06, 3),
            width=round(slot * 0.88, 3),
            at=at,
            total=write(int(totals[index])),
            segments=_stack(series, index, height, scale, write),
            href=link(at),
        )
        for index, at in enumerate(starts)
    )
    every = max(1, math.ceil(len(starts) / 6))
    return StackedBars(
        height=height,
        ticks=tuple(
            Tick(y=round(height - line * step * scale, 2), text=write(int(line * step)))
            for line in range(GRID_LINES + 1)
        ),
        columns=columns,
        labelled=columns[::every],
        legend=tuple(one.label or one.name for one in series),
    )


def _stack(
    series: Sequence[Series], index: int, height: float, scale: float, write: Callable[[int], str]
) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    top = height
    for number, one in enumerate(series):
        amount = one.values[index]
        if not amount:
            continue
        size = amount * scale
        top -= size
        text = f"{one.label or one.name} {write(int(amount))}"
        # A hairline of the panel between the colours, for those who cannot tell them apart; never for slivers.
        gap = 1.0 if size > 3 else 0.0
        segments.append(
            Segment(
                series=min(number, SERIES_COLOURS - 1) + 1,
                y=round(top + gap, 2),
                height=round(max(size - gap, 0.5), 2),
                text=text,
            )
        )
    return tuple(segments)


def strongest(series: Sequence[Series], limit: int = SERIES_COLOURS) -> tuple[Series, ...]:
    """Keep the largest series in their order of size and add up the rest as ``other``."""
    ranked = sorted(series, key=lambda one: -one.total)
    if len(ranked) <= limit:
        return tuple(ranked)
    rest = ranked[limit - 1 :]
    summed = tuple(sum(one.values[index] or 0 for one in rest) for index in range(len(rest[0].values)))
    return (*ranked[: limit - 1], Series(name="", label=f"{len(rest)} others", values=summed))


def spark(values: Sequence[float | None]) -> Spark:
    """Draw a line from zero to its largest figure."""
    largest = max((value for value in values if value is not None), default=0) or 1
    across = SPARK_WIDTH / max(len(values) - 1, 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index * across, SPARK_HEIGHT - 1.5 - value / largest * (SPARK_HEIGHT - 4)))
    drawn = [run if len(run) > 1 else [run[0], (run[0][0] + 1, run[0][1])] for run in runs if run]
    return Spark(
        lines=tuple(_points(run) for run in drawn),
        areas=tuple(_points([(run[0][0], SPARK_HEIGHT), *run, (run[-1][0], SPARK_HEIGHT)]) for run in drawn),
    )


def stage(started_ns: int, duration_ns: int, *, whole_started_ns: int, whole_ns: int) -> Stage:
    """Place a span within the whole; a sliver stays visible and nothing leaves the box."""
    whole = max(whole_ns, 1)
    x = min(max(100 * (started_ns - whole_started_ns) / whole, 0), 99.4)
    return Stage(x=round(x, 2), width=round(min(max(100 * duration_ns / whole, 0.6), 100 - x), 2))


def _points(run: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
