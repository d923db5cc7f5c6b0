"""Owns how answers look: aligned tables, quiet colour on terminals, one JSON document for machines."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any

import click

RIGHT = "right"

_COLOURS = {"dim": "bright_black", "accent": "blue", "good": "green", "waiting": "yellow", "wrong": "red"}


def is_fancy(stream: IO[str]) -> bool:
    """Whether colour and moving text are wanted there: on a terminal, unless ``NO_COLOR`` is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, role: str, stream: IO[str] | None = None) -> str:
    """Colour text by its role: dim, accent, good, waiting or wrong. Plain where colour is not wanted."""
    return click.style(text, fg=_COLOURS[role]) if is_fancy(stream or sys.stdout) else text


def say(text: str = "", *, err: bool = False) -> None:
    click.echo(text, err=err)


def dump(document: Any) -> None:
    """Print the one JSON document of a command that was asked for ``--json``."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=None if not sys.stdout.isatty() else 2))


def hint(*commands: str) -> None:
    """Name the next useful commands, on stderr and only for people."""
    if sys.stderr.isatty():
        click.echo(paint("\n" + "     ".join(commands), "dim", sys.stderr), err=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print rows in aligned columns under a dim head; the columns named in ``right`` are flushed right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        placed = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, cells, widths, strict=True)
        )
        return "  ".join(placed).rstrip()

    say(paint(line(head), "dim"))
    for row in rows:
        say(line([printable(cell) for cell in row]))


def printable(text: str) -> str:
    """Replace control characters, so that what a caller or a model wrote cannot steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def bar(done: int, total: int, width: int = 24) -> str:
    """Draw how much of something is done."""
    full = width if total <= 0 else width * min(done, total) // total
    return "━" * full + "·" * (width - full)


def money(usd: str | None) -> str:
    return "unknown" if usd is None else f"${usd}"


def count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def duration(milliseconds: float | None) -> str:
    """Write a duration with as many digits as matter: ``38 ms``, ``0.41 s``, ``2 min 5 s``."""
    if milliseconds is None:
        return ""
    if milliseconds < 100:
        return f"{milliseconds:.3g} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.2f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def local_time(moment: str | None) -> str:
    """Write an RFC 3339 time as a local one: the clock alone if it is of today."""
    if not moment:
        return ""
    then = datetime.fromisoformat(moment).astimezone()
    today = datetime.now(UTC).astimezone().date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M")
