"""Owns the text of tables: each row with the names of its columns, so that a row means something by itself."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

_ROW = re.compile(r"^\|(.*)\|[ \t]*$")
_RULE = re.compile(r"^\|(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t]*$")
_CELL = re.compile(r"(?<!\\)\|")
_SAMPLE_CHARS = 64 * 1024
_MOST_FIELD_CHARS = 20_000_000


def text_of_csv(text: str, *, most_chars: int) -> str:
    """Write each row of comma-, semicolon- or tab-separated values as a line of ``name: value``.

    What is beyond ``most_chars`` is left out, but for the end of the line that goes beyond them.
    """
    csv.field_size_limit(_MOST_FIELD_CHARS)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text[:_SAMPLE_CHARS]), strict=False)
    names: Sequence[str] = next((row for row in rows if any(map(str.strip, row))), ())
    lines = list(_up_to(_lines(names, rows), most_chars))
    return "\n".join(lines) if lines else " | ".join(filter(None, map(str.strip, names)))


def text_of_markdown_tables(text: str) -> str:
    """Write the rows of a Markdown text's tables as lines of ``name: value``, and leave all else as it is."""
    told: list[str] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if at + 1 < len(lines) and _ROW.match(lines[at]) and _RULE.match(lines[at + 1]):
            names, at = _cells(lines[at]), at + 2
            rows: list[Sequence[str]] = []
            while at < len(lines) and _ROW.match(lines[at]):
                rows.append(_cells(lines[at]))
                at += 1
            told += list(_lines(names, rows)) or [" | ".join(filter(None, names))]
        else:
            told.append(lines[at])
            at += 1
    return "\n".join(told)


def _lines(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    known = [name.strip() for name in names]
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        told = [
            f"{known[place]}: {cell}" if place < len(known) and known[place] else cell
            for place, cell in enumerate(cells)
            if cell
        ]
        if told:
            yield " | ".join(told)


def _up_to(lines: Iterable[str], most_chars: int) -> Iterator[str]:
    written = 0
    for line in lines:
        yield line
        written += len(line) + 1
        if written > most_chars + 1:
            return


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip()[1:-1])]


def _delimiter(sample: str) -> str:
    """Choose what stands most often, and as often in each of the first lines."""
    lines = [line for line in sample.splitlines()[:50] if line.strip()][:-1] or sample.splitlines()[:1]
    counts = {mark: [line.count(mark) for line in lines] for mark in (",", ";", "\t", "|")}
    return max(counts, key=lambda mark: (min(counts[mark], default=0) > 0, -len(set(counts[mark])), sum(counts[mark])))
