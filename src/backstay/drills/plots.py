"""Owns what a drill's plots show: its figures in even stretches of time, placed. Pure; the template writes the SVG."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import msgspec

from backstay.console.plots import GRID_LINES, Series, StackedBars, Tick, nice_step, stacked_bars
from backstay.drills.figures import percentile_ms
from backstay.drills.load import Call, Run, Upstream
from backstay.drills.simulators import GOOD
from backstay.drills.telling import breakers

_BARS = 60
_LEAST_S = 0.5
_HEIGHT = 150.0
WIDTH = 1000.0
"""Of the box that lines are drawn in; it is stretched to the width of the page."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    colour: int
    """1 to 5."""
    runs: tuple[str, ...]
    """Points of each stretch without a gap."""


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    height: float
    ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    rows: tuple[tuple[float, tuple[float | None, ...]], ...]
    """The same as figures, for a table."""


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time in which a breaker was in one state, in per cent of the whole."""

    x: float
    width: float
    state: str
    text: str


class Plots(msgspec.Struct, frozen=True, kw_only=True):
    step_s: float
    endings: StackedBars
    targets: StackedBars
    latency: Lines
    bands: dict[str, tuple[Band, ...]]
    """By target; empty where nothing is known of the breakers."""
    marks: tuple[tuple[float, str], ...]
    """Where each stretch begins, in per cent, and its name."""


def plot(run: Run, seconds: float, stretches: Sequence[tuple[float, str]]) -> Plots:
    """Place everything that a report draws of one run."""
    step_s = max(_LEAST_S, math.ceil(seconds / _BARS / _LEAST_S) * _LEAST_S)
    count = math.ceil(seconds / step_s)
    buckets: list[list[Call]] = [[] for _ in range(count)]
    for call in run.calls:
        buckets[min(count - 1, int(call.at_s / step_s))].append(call)
    return Plots(
        step_s=step_s,
        endings=_bars(_ending_series(buckets, step_s), count, step_s),
        targets=_bars(_target_series(run.upstream, count, step_s), count, step_s),
        latency=_latency(buckets, step_s),
        bands=_bands(run.upstream, seconds),
        marks=tuple((round(100 * at_s / seconds, 2), name) for at_s, name in stretches),
    )


def _bars(series: Sequence[Series], count: int, step_s: float) -> StackedBars:
    starts = [datetime.fromtimestamp(place * step_s, UTC) for place in range(count)]
    return stacked_bars(starts, series, write=lambda amount: f"{amount:,}", link=lambda _: "", height=_HEIGHT)


def _ending_series(buckets: Sequence[Sequence[Call]], step_s: float) -> list[Series]:
    kinds = ("ok", *sorted({call.answered.ending for bucket in buckets for call in bucket} - {"ok"}))
    return [
        Series(
            name=kind,
            values=tuple(sum(call.answered.ending == kind for call in bucket) / step_s for bucket in buckets),
        )
        for kind in kinds
    ]


def _target_series(upstream: Sequence[Upstream], count: int, step_s: float) -> list[Series]:
    """Count upstream calls a second by target, those that a fault struck by themselves."""
    amounts: dict[str, list[float]] = {}
    for before, after in pairwise(upstream):
        place = min(count - 1, int(before.at_s / step_s))
        for target, outcomes in after.counts.items():
            for outcome, number in outcomes.items():
                name = target if outcome in GOOD else f"{target}, struck"
                values = amounts.setdefault(name, [0.0] * count)
                values[place] += (number - before.counts.get(target, {}).get(outcome, 0)) / step_s
    return [Series(name=name, values=tuple(values)) for name, values in sorted(amounts.items())]


def _latency(buckets: Sequence[Sequence[Call]], step_s: float) -> Lines:
    good = [sorted(call.took_s for call in bucket if call.answered.ending == "ok") for bucket in buckets]
    named = {f"p{share * 100:.0f}": [percentile_ms(each, share) for each in good] for share in (0.5, 0.95)}
    step = nice_step(max((value for values in named.values() for value in values if value is not None), default=1.0))
    top = step * GRID_LINES
    return Lines(
        height=_HEIGHT,
        ticks=tuple(
            Tick(y=_HEIGHT * (1 - line / GRID_LINES), text=f"{line * step:g} ms") for line in range(GRID_LINES + 1)
        ),
        lines=tuple(
            Line(name=name, colour=number, runs=tuple(_runs(values, top)))
            for number, (name, values) in enumerate(named.items(), 1)
        ),
        rows=tuple((place * step_s, tuple(values[place] for values in named.values())) for place in range(len(good))),
    )


def _runs(values: Sequence[float | None], top: float) -> list[str]:
    runs: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        x = (place + 0.5) * WIDTH / len(values)
        runs[-1].append(f"{x:.1f},{_HEIGHT * (1 - value / top):.1f}")
    return [" ".join(run) for run in runs if run]


def _bands(upstream: Sequence[Upstream], seconds: float) -> dict[str, tuple[Band, ...]]:
    found: dict[str, list[tuple[float, str]]] = {}
    for seen in upstream:
        for target, state in breakers(seen.health or []).items():
            changes = found.setdefault(target, [])
            if not changes or changes[-1][1] != state:
                changes.append((min(seen.at_s, seconds), state))
    return {target: tuple(_between(changes, seconds)) for target, changes in sorted(found.items())}


def _between(changes: Sequence[tuple[float, str]], seconds: float) -> list[Band]:
    ends = [at_s for at_s, _ in changes[1:]] + [seconds]
    return [
        Band(
            x=round(100 * from_s / seconds, 2),
            width=round(100 * (until_s - from_s) / seconds, 2),
            state=state,
            text=f"{state.replace('_', '-')} from {from_s:.1f} s to {until_s:.1f} s",
        )
        for (from_s, state), until_s in zip(changes, ends, strict=True)
    ]
