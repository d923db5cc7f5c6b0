"""Owns how documents are cut into chunks: at headings, paragraphs and sentences, never longer than the bound."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from backstay.retrieval.types import Chunking, Piece

_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*?)[ \t]*#*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？؟।])")
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n")
_BLANK = re.compile(r"\s+")
_LONGEST_HEADING = 120

_SEPARATORS = {
    "recursive": (_PARAGRAPH, _LINE, _SENTENCE, _BLANK),
    "sentence": (_SENTENCE, _BLANK),
    "fixed": (_BLANK,),
}
"""Where a strategy cuts, the best places first; a longer run without any is cut anywhere."""

Span = tuple[int, int]


def cut(text: str, chunking: Chunking, *, media_type: str, page_starts: Sequence[int] = ()) -> list[Piece]:
    """Cut a document. Blanks around a chunk belong to none, and all else to at least one."""
    pieces: list[Piece] = []
    for start, end, heading in _sections(text, chunking, media_type):
        for begin, stop in _pack(text, (start, end), chunking):
            page = bisect_right(page_starts, begin) if page_starts else None
            pieces.append(Piece(start=begin, end=stop, heading=heading, page=page))
    return pieces


def sentences(text: str) -> list[Span]:
    """Return where the sentences of a text are."""
    return [trimmed for span in _split(text, (0, len(text)), _SENTENCE) if (trimmed := _trim(text, span))]


def _sections(text: str, chunking: Chunking, media_type: str) -> Iterator[tuple[int, int, str]]:
    """Return the parts of a text under each of its headings, with the path of headings to it."""
    if chunking.strategy != "recursive" or media_type not in ("text/markdown", "text/html"):
        yield 0, len(text), ""
        return
    fenced = [match.span() for match in _FENCE.finditer(text)]
    path: list[tuple[int, str]] = []
    since = 0
    for match in _HEADING.finditer(text):
        if any(start <= match.start() < end for start, end in fenced):
            continue
        yield since, match.start(), _path(path)
        level = len(match[1])
        path = [step for step in path if step[0] < level] + [(level, match[2][:_LONGEST_HEADING])]
        since = match.start()
    yield since, len(text), _path(path)


def _path(path: Sequence[tuple[int, str]]) -> str:
    return " > ".join(title for _, title in path)


def _pack(text: str, span: Span, chunking: Chunking) -> Iterator[Span]:
    """Put neighbours together, as many as fit; begin each chunk with the end of the last as far as is wanted."""
    parts = list(_parts(text, span, chunking.max_chars, _SEPARATORS[chunking.strategy]))
    first = 0
    while first < len(parts):
        last = first
        while last + 1 < len(parts) and parts[last + 1][1] - parts[first][0] <= chunking.max_chars:
            last += 1
        yield parts[first][0], parts[last][1]
        after = last + 1
        while (
            after > first + 1 and after < len(parts) and parts[last][1] - parts[after - 1][0] <= chunking.overlap_chars
        ):
            after -= 1
        first = after


def _parts(text: str, span: Span, most: int, separators: Sequence[re.Pattern[str]]) -> Iterator[Span]:
    """Cut a span at the best separators that make its parts short enough."""
    trimmed = _trim(text, span)
    if trimmed is None:
        return
    start, end = trimmed
    if not separators:
        for begin in range(start, end, most):
            yield begin, min(begin + most, end)
    else:
        for part in _split(text, trimmed, separators[0]):
            if part[1] - part[0] > most:
                yield from _parts(text, part, most, separators[1:])
            elif (kept := _trim(text, part)) is not None:
                yield kept


def _split(text: str, span: Span, separator: re.Pattern[str]) -> Iterator[Span]:
    begin, end = span
    for match in separator.finditer(text, *span):
        if match.end() > begin:
            yield begin, match.start()
            begin = match.end()
    if begin < end:
        yield begin, end


def _trim(text: str, span: Span) -> Span | None:
    """Leave out blanks at both ends; ``None`` if nothing else is there."""
    part = text[span[0] : span[1]]
    kept = part.strip()
    if not kept:
        return None
    start = span[0] + len(part) - len(part.lstrip())
    return start, start + len(kept)
