"""Owns how documents are cut into chunks: in parents and parts first, which are then put together within the bound."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

import msgspec

from backstay.retrieval.code import code_parts
from backstay.retrieval.media_types import is_code
from backstay.retrieval.semantic import most_unlike
from backstay.retrieval.structure import Part, Table, head_of, tables, under_headings
from backstay.retrieval.tokens import token_ends
from backstay.retrieval.types import Chunking, Piece, Span

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

_BY_STRUCTURE = (_PARAGRAPH, _LINE, _SENTENCE, _BLANK)
_SEPARATORS = {
    "recursive": _BY_STRUCTURE,
    "semantic": _BY_STRUCTURE,
    "code": _BY_STRUCTURE,
    "sentence": (_SENTENCE, _BLANK),
    "fixed": (_BLANK,),
    "tokens": (_BLANK,),
}
"""Where a strategy cuts, the best places first; a longer run without any is cut anywhere."""

_SEES_STRUCTURE = frozenset({"recursive", "semantic", "code"})
_WITH_HEADINGS = frozenset({"text/markdown", "text/html"})
_UNIT_CHARS = 40
"""Of what is compared with its neighbour where it is cut by meaning: shorter sentences are put together."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a document within which chunks lie, as it was cut into parts none of which is too long."""

    heading: str
    parent: Span | None
    parts: Sequence[Span]


def cut(text: str, chunking: Chunking, *, media_type: str, page_starts: Sequence[int] = ()) -> list[Piece]:
    """Cut a document by a strategy that asks no model. Blanks around a chunk belong to none, all else to at least one.

    Raises:
        CodeNotInstalled: It is code, to be cut as such, and the library for it is missing.
    """
    return put_together(text, sections(text, chunking, media_type), chunking, page_starts=page_starts)


def sections(text: str, chunking: Chunking, media_type: str) -> list[Section]:
    """Cut a document into sections, and these into parts. Raises as ``cut``."""
    told = tables(text) if chunking.strategy in _SEES_STRUCTURE else []
    found: list[Section] = []
    for part in _outer(text, chunking, media_type):
        span = (part.start, part.end)
        if chunking.parent_chars is None:
            found.append(Section(heading=part.heading, parent=None, parts=_cut_up(text, span, chunking, told)))
            continue
        for parent in _pack(_long_parts(text, span, chunking, told), chunking.parent_chars, 0):
            parts = _cut_up(text, parent, chunking, told)
            found.append(Section(heading=part.heading, parent=parent, parts=parts))
    return [each for each in found if each.parts]


def put_together(
    text: str,
    sections: Sequence[Section],
    chunking: Chunking,
    *,
    page_starts: Sequence[int] = (),
    likeness: Sequence[Sequence[float]] = (),
) -> list[Piece]:
    """Put a document's parts together to chunks.

    Args:
        likeness: Of each section's neighbouring parts, if it is cut by meaning.
    """
    told = tables(text) if chunking.strategy in _SEES_STRUCTURE else []
    pieces: list[Piece] = []
    for number, section in enumerate(sections):
        for begin, stop in _chunks(section, chunking, likeness[number] if likeness else ()):
            pieces.append(
                Piece(
                    start=begin,
                    end=stop,
                    heading=section.heading,
                    page=bisect_right(page_starts, begin) if page_starts else None,
                    parent=section.parent,
                    head=head_of(told, begin, longest=chunking.max_chars),
                )
            )
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


def _outer(text: str, chunking: Chunking, media_type: str) -> Iterator[Part]:
    """Return what no chunk goes beyond: the text under each heading, or each definition of source code."""
    if chunking.strategy == "code" and is_code(media_type):
        yield from code_parts(text, media_type, most=chunking.parent_chars or chunking.max_chars)
    elif chunking.strategy in _SEES_STRUCTURE and media_type in _WITH_HEADINGS:
        yield from under_headings(text)
    else:
        yield Part(start=0, end=len(text))


def _long_parts(text: str, span: Span, chunking: Chunking, tables: Sequence[Table]) -> list[Span]:
    """Return what parents are put together of."""
    most = chunking.parent_chars or chunking.max_chars
    separators = _SEPARATORS[chunking.strategy]
    return _with_heads(list(_parts(text, span, most, separators)), tables, most)


def _cut_up(text: str, span: Span, chunking: Chunking, tables: Sequence[Table]) -> list[Span]:
    """Return what chunks are put together of."""
    if chunking.strategy == "tokens":
        return list(_by_tokens(text, span, chunking))
    if chunking.strategy == "semantic":
        parts = list(_units(text, span, chunking.max_chars, _BY_STRUCTURE))
    else:
        parts = list(_parts(text, span, chunking.max_chars, _SEPARATORS[chunking.strategy]))
    return _with_heads(parts, tables, chunking.max_chars)


def _chunks(section: Section, chunking: Chunking, likeness: Sequence[float]) -> Iterator[Span]:
    if chunking.strategy == "tokens":
        yield from section.parts
    elif likeness:
        yield from most_unlike(section.parts, likeness, chunking.max_chars, chunking.overlap_chars)
    else:
        yield from _pack(section.parts, chunking.max_chars, chunking.overlap_chars)


def _pack(parts: Sequence[Span], most: int, overlap: int) -> Iterator[Span]:
    """Put neighbours together, as many as fit; begin each chunk with the end of the last as far as is wanted."""
    first = 0
    while first < len(parts):
        last = first
        while last + 1 < len(parts) and parts[last + 1][1] - parts[first][0] <= most:
            last += 1
        yield parts[first][0], parts[last][1]
        after = last + 1
        while after > first + 1 and after < len(parts) and parts[last][1] - parts[after - 1][0] <= overlap:
            after -= 1
        first = after


def _with_heads(parts: Sequence[Span], tables: Sequence[Table], most: int) -> list[Span]:
    """Put a table's head and its first row together, so that no chunk ends with a head that nothing stands below."""
    together: list[Span] = []
    number = bisect_right(tables, parts[0][0], key=lambda table: table.first_row_end) if parts else 0
    for start, end in parts:
        while number < len(tables) and tables[number].first_row_end <= start:
            number += 1
        is_below = number < len(tables) and bool(together) and tables[number].start <= together[-1][0] < start
        if is_below and end <= tables[number].first_row_end and end - together[-1][0] <= most:
            together[-1] = (together[-1][0], end)
        else:
            together.append((start, end))
    return together


def _by_tokens(text: str, span: Span, chunking: Chunking) -> Iterator[Span]:
    """Cut after so many tokens each, and begin the next one so much before as is wanted."""
    start, end = span
    ends = [start, *(start + each for each in token_ends(text[start:end]))]
    first = 0
    while first < len(ends) - 1:
        last = min(first + chunking.max_tokens, len(ends) - 1)
        if (kept := _trim(text, (ends[first], ends[last]))) is not None:
            yield kept
        if last == len(ends) - 1:
            return
        # Half of the chunk at most, so that it goes on whatever its tokens are.
        first = max(bisect_left(ends, ends[last] - chunking.overlap_chars), (first + last + 1) // 2)


def _units(text: str, span: Span, most: int, separators: Sequence[re.Pattern[str]]) -> Iterator[Span]:
    """Return a span's sentences, short ones put together; only what is longer than a chunk is cut within."""
    enough = min(_UNIT_CHARS, most)
    return _pack(list(_parts(text, span, most, separators, enough)), enough, 0)


def _parts(text: str, span: Span, most: int, separators: Sequence[re.Pattern[str]], enough: int = 0) -> Iterator[Span]:
    """Cut a span at the best separators that make its parts short enough.

    Args:
        enough: Of a part, where that is less than the most; but no sentence is cut for it.
    """
    trimmed = _trim(text, span)
    if trimmed is None:
        return
    start, end = trimmed
    if not separators:
        for begin in range(start, end, most):
            yield begin, min(begin + most, end)
        return
    wanted = most if not enough or separators[1:] in ((), (_BLANK,)) else enough
    for part in _split(text, trimmed, separators[0]):
        if part[1] - part[0] > wanted:
            yield from _parts(text, part, most, separators[1:], enough)
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
