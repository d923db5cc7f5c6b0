"""Owns how documents are cut into chunks: at headings, paragraphs and sentences, never longer than the bound."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from backstay.retrieval.types import Chunking, Piece

_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*?)[ \t]*#*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？؟।])")
_BEFORE_A_NAME = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Sen|Rep|No|Nr|vs|e\.g|i\.e|cf|approx|z\.B|d\.h|[A-Z])\.$"
    r"|(?:^|\n\s*)\d{1,2}\.$"
)
"""Ends of what is no sentence yet: titles, initials, the numbers of a list."""
_BEFORE_MORE = re.compile(r"\b(?:Jr|Sr|etc|al|Inc|Corp|Ltd|Co|a\.m|p\.m|U\.S|U\.K|bzw|ca|usw)\.$")
"""Ends of what is no sentence where a small letter or a digit follows."""
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
    """Return where the sentences of a text are; a point after an abbreviation, initial or list's number ends none."""
    found: list[Span] = []
    for span in _split(text, (0, len(text)), _SENTENCE):
        if (trimmed := _trim(text, span)) is None:
            continue
        if found and _goes_on(text[slice(*found[-1])], text[trimmed[0]]):
            found[-1] = (found[-1][0], trimmed[1])
        else:
            found.append(trimmed)
    return found


def _goes_on(sentence: str, following: str) -> bool:
    is_small = following.islower() or following.isdigit()
    return bool(_BEFORE_A_NAME.search(sentence)) or (is_small and bool(_BEFORE_MORE.search(sentence)))


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
