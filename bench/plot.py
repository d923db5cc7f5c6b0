"""Owns the picture of a run: requests a second and latency of each stack, side by side."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its keyword arguments open.

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from bench.measured import MAIN_CONCURRENCY, Measured, last_ms
from bench.stacks import BACKSTAY

_OURS, _OTHERS = "#0f766e", "#94a3b8"


def draw(measured: Measured, file: Path) -> None:
    """Draw a run as an SVG file."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2)
    names = list(measured.loads)
    level = MAIN_CONCURRENCY
    _bars(
        left,
        names,
        [measured.per_s(name, level) for name in names],
        f"requests/s, {level} connections (log scale)",
        "{:,.0f}",
    )
    _bars(
        right,
        names,
        [last_ms(measured.short[name], 50) for name in names],
        "latency p50, ms, 1 connection (log scale)",
        "{:.2f}",
    )
    figure.savefig(file)


def _bars(axes: Axes, names: list[str], values: list[float], title: str, form: str) -> None:
    colours = [_OURS if name == BACKSTAY else _OTHERS for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [form.format(value) for value in values], padding=4)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False, left=False)
    axes.minorticks_off()
