"""Owns the HTML report of a drill: one page that needs nothing else."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from backstay.core.errors import ConfigError
from backstay.drills.drill import Drilled
from backstay.drills.plots import plot
from backstay.drills.telling import document
from backstay.drills.words import check_words, cost, milliseconds, ratio


def write_report(drilled: Drilled, path: Path) -> None:
    """Write the report. Raises ``ConfigError`` where that is not possible."""
    try:
        path.write_text(render(drilled), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the report cannot be written: {error.strerror}.", file=str(path)) from error


def render(drilled: Drilled) -> str:
    """Write the page."""
    environment = Environment(
        loader=PackageLoader("backstay.drills", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words: dict[str, Any] = {"ms": milliseconds, "cost": cost, "ratio": ratio, "check_words": check_words}
    # Jinja leaves the types of its own tables open.
    environment.filters.update(words)  # pyright: ignore[reportUnknownMemberType]
    scenario = drilled.scenario
    stretches = [(stretch.from_s, stretch.name) for stretch in scenario.stretches]
    sides = [(side.name, plot(side.run, scenario.seconds, stretches)) for side in (drilled.backstay, *drilled.peers)]
    return environment.get_template("report.html").render(
        drill=document(drilled), checks=drilled.checks, sides=sides, tokens=_tokens(), seconds=scenario.seconds
    )


def _tokens() -> str:
    """Take the colours from the console's own table of them."""
    style = (files("backstay.console") / "static" / "console.css").read_text("utf-8")
    return style[style.index(":root {") : style.index("}") + 1]
