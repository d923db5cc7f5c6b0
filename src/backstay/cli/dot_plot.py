"""Owns a plot of means with their intervals, one row a name and one panel a measure, as an SVG document. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import msgspec

_LEFT = 330
_PANEL = 220
_GAP = 30
_ROW = 22
_TOP = 64
_TICKS = 4
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1c2024}.dim{fill:#60646c}.grid{stroke:#d9d9e0}"
    ".range{stroke:#3e63dd;stroke-width:2}.dot{fill:#3e63dd}svg{background:#fff}"
    "@media (prefers-color-scheme:dark){text{fill:#edeef0}.dim{fill:#b0b4ba}.grid{stroke:#363a3f}"
    ".range{stroke:#849dff}.dot{fill:#849dff}svg{background:#111113}}"
)


class Dot(msgspec.Struct, frozen=True, kw_only=True):
    """A mean and its interval."""

    name: str
    at: float
    low: float
    high: float


def draw(panels: Mapping[str, Sequence[Dot]], caption: str) -> str:
    """Return the plot; each panel has the same names in the same order."""
    rows = max(map(len, panels.values()))
    width, height = _LEFT + len(panels) * (_PANEL + _GAP), _TOP + rows * _ROW + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<text x="12" y="22" class="dim">{escape(caption)}</text>',
    ]
    for row, dot in enumerate(next(iter(panels.values()))):
        parts.append(f'<text x="12" y="{_middle(row) + 4}">{escape(dot.name)}</text>')
    for number, (measure, dots) in enumerate(panels.items()):
        parts += _panel(_LEFT + number * (_PANEL + _GAP), measure, dots, height)
    return "".join([*parts, "</svg>\n"])


def _panel(left: float, measure: str, dots: Sequence[Dot], height: int) -> Iterator[str]:
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    spare = 0.05 * (high - low) or 0.01
    low, high = low - spare, high + spare

    def place(value: float) -> str:
        return f"{left + _PANEL * (value - low) / (high - low):.1f}"

    yield f'<text x="{left}" y="48">{escape(measure)}</text>'
    for tick in range(_TICKS + 1):
        value = low + (high - low) * tick / _TICKS
        yield f'<line class="grid" x1="{place(value)}" x2="{place(value)}" y1="{_TOP - 8}" y2="{height - 28}"/>'
        yield f'<text class="dim" x="{place(value)}" y="{height - 12}" text-anchor="middle">{value:.2f}</text>'
    for row, dot in enumerate(dots):
        y = _middle(row)
        yield f'<line class="range" x1="{place(dot.low)}" x2="{place(dot.high)}" y1="{y}" y2="{y}"/>'
        yield f'<circle class="dot" cx="{place(dot.at)}" cy="{y}" r="4"><title>{dot.at:.4f}</title></circle>'


def _middle(row: int) -> int:
    return _TOP + row * _ROW + _ROW // 2
