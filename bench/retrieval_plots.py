"""Owns the pictures of how answers are checked, how often nothing is answered, and what relevance is worth."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its keyword arguments open.

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_OURS, _OTHERS, _BAD, _INK = "#0f766e", "#94a3b8", "#b91c1c", "#64748b"
"""Of a middle lightness, so that they are seen on a light page and on a dark one."""

_FEWEST = 10
"""Results of a step of probability that are shown: of fewer, the share is chance."""

Bins = Sequence[tuple[float, float, int]]
"""What was told at the mean, what was so, and of how many."""


class Scored(Protocol):
    """What is drawn of a way of checking."""

    @property
    def f1(self) -> float: ...


def draw_verification(
    figures: Mapping[str, Scored],
    passed: Mapping[str, tuple[int, int]],
    true_kinds: Collection[str],
    bins: Bins,
    file: Path,
) -> None:
    """Draw F1 beside the baselines, what passes by kind, and probabilities beside what was so."""
    figure = _figure(11, 3.6)
    left, middle, right = figure.subplots(1, 3, width_ratios=[2, 3, 2])
    names = list(figures)
    bars = left.barh(names, [figures[name].f1 for name in names], color=[_OURS, *[_OTHERS] * (len(names) - 1)])
    left.bar_label(bars, [f"{figures[name].f1:.2f}" for name in names], padding=4, color=_INK)
    left.set_title("F1, held-out claims", loc="left", fontsize=10, color=_INK)
    left.set_xlim(0, 1.15)
    left.invert_yaxis()
    kinds = sorted(passed, key=lambda kind: passed[kind][0] / passed[kind][1])
    shares = [passed[kind][0] / passed[kind][1] for kind in kinds]
    bars = middle.barh(kinds, shares, color=[_OURS if kind in true_kinds else _BAD for kind in kinds])
    middle.bar_label(bars, [f"{share:.0%}" for share in shares], padding=4, color=_INK, fontsize=7)
    middle.set_title("taken for supported: true (green), planted (red)", loc="left", fontsize=10, color=_INK)
    middle.tick_params(labelsize=7)
    middle.set_xlim(0, 1.15)
    for axes in (left, middle):
        _bare(axes)
    _reliability(right, {"": bins}, "probability of support")
    figure.savefig(file, transparent=True)


def draw_lines(
    lines: Mapping[str, Sequence[tuple[float, float]]], *, title: str, across: str, up: str, file: Path
) -> None:
    """Draw lines of points beside the diagonal."""
    figure = _figure(5, 3.6)
    axes = figure.subplots()
    for (name, points), colour in zip(lines.items(), (_BAD, _OURS, _OTHERS), strict=False):
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", ms=3, color=colour, label=name)
    most = max(x for points in lines.values() for x, _ in points)
    axes.plot([0, most], [0, most], ":", color=_INK, lw=1)
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel(across, color=_INK, fontsize=9)
    axes.set_ylabel(up, color=_INK, fontsize=9)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _legend(axes)
    figure.savefig(file, transparent=True)


def draw_reliability(curves: Mapping[str, Mapping[str, Bins]], file: Path) -> None:
    """Draw what was told beside what was so, a panel a set."""
    rows = -(-len(curves) // 3)
    figure = _figure(9, 3 * rows)
    panels = figure.subplots(rows, 3, squeeze=False).flatten()
    for axes, (name, each) in zip(panels, curves.items(), strict=False):
        _reliability(axes, {told: [step for step in bins if step[2] >= _FEWEST] for told, bins in each.items()}, name)
    figure.savefig(file, transparent=True)


def _reliability(axes: Axes, curves: Mapping[str, Bins], title: str) -> None:
    axes.plot([0, 1], [0, 1], ":", color=_INK, lw=1)
    for (name, bins), colour in zip(curves.items(), (_OURS, _BAD, _OTHERS), strict=False):
        axes.plot([told for told, _, _ in bins], [so for _, so, _ in bins], "o-", ms=3, color=colour, label=name)
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel("told", color=_INK, fontsize=9)
    axes.set_ylabel("was so", color=_INK, fontsize=9)
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False, colors=_INK)


def _figure(width: float, height: float) -> Figure:
    mpl.rcParams.update({"svg.hashsalt": "backstay", "svg.fonttype": "none"})
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure
