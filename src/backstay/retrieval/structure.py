"""Owns what is seen of a text's structure line by line: headings, blocks of code, tables and their heads.

Each line is looked at a few times at most, however long the text or a line of it is.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec

from backstay.retrieval.types import Span

_MARKED = re.compile(r"^(?:#{1,6}[ \t]|```|~~~).*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t|:-]+$", re.MULTILINE)
_LONGEST_HEADING = 120
_FENCES = ("```", "~~~")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a text, and the path of headings to it."""

    start: int
    end: int
    heading: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A Markdown table: the line with its columns' names, the rule below it, its rows."""

    start: int
    head_end: int
    """Behind the rule."""
    first_row_end: int
    end: int


def under_headings(text: str) -> Iterator[Part]:
    """Return the parts of a Markdown text under each of its headings. A line in a block of code is no heading."""
    path: list[tuple[int, str]] = []
    since = 0
    for start, level, title in _headings(text):
        yield Part(start=since, end=start, heading=_path(path))
        path = [step for step in path if step[0] < level] + [(level, title[:_LONGEST_HEADING])]
        since = start
    yield Part(start=since, end=len(text), heading=_path(path))


def tables(text: str) -> list[Table]:
    """Return a text's tables in their order: a line with bars, a rule of dashes and bars, further lines with bars."""
    found: list[Table] = []
    for rule in _RULE.finditer(text):
        if "-" not in rule[0] or "|" not in rule[0] or (found and rule.start() < found[-1].end):
            continue
        start = text.rfind("\n", 0, max(rule.start() - 1, 0)) + 1
        if rule.start() == 0 or "|" not in text[start : rule.start()]:
            continue
        first = end = rule.end()
        while (row := _row_after(text, end)) is not None:
            first = row if end == rule.end() else first
            end = row
        found.append(Table(start=start, head_end=rule.end(), first_row_end=first, end=end))
    return found


def _row_after(text: str, end: int) -> int | None:
    """Return where the line after one ends, if it is a row."""
    if end >= len(text):
        return None
    stop = text.find("\n", end + 1)
    stop = len(text) if stop < 0 else stop
    return stop if text.find("|", end, stop) >= 0 else None


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Return where headings begin, their levels and titles."""
    lines = list(_MARKED.finditer(text))
    last = {fence: max((m.start() for m in lines if _closes(m[0], fence)), default=-1) for fence in _FENCES}
    fence = ""
    for match in lines:
        line = match[0]
        if fence:
            fence = "" if _closes(line, fence) else fence
        elif line.startswith(_FENCES):
            # What is never closed is no block of code: the headings below it still count.
            fence = line[:3] if last[line[:3]] > match.start() else ""
        elif title := _title(line.lstrip("#").strip()):
            yield match.start(), len(line) - len(line.lstrip("#")), title


def _closes(line: str, fence: str) -> bool:
    return line.rstrip() == fence


def _title(told: str) -> str:
    """Leave out the marks that may close a heading."""
    open_end = told.rstrip("#")
    return open_end.rstrip() if not open_end or open_end[-1].isspace() else told


def _path(path: Sequence[tuple[int, str]]) -> str:
    return " > ".join(title for _, title in path)


def head_of(tables: Sequence[Table], place: int, *, longest: int) -> Span | None:
    """Return the head of the table whose rows a place is within; ``None`` where there is none, or it is too long."""
    number = bisect_right(tables, place, key=lambda table: table.head_end) - 1
    if number < 0 or place >= tables[number].end:
        return None
    table = tables[number]
    return (table.start, table.head_end) if table.head_end - table.start <= longest else None
