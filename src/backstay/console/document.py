"""Owns the page of a document: its text where a passage is, the passage marked, chunk by chunk."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec
from starlette.responses import Response

from backstay.console.visit import Visit
from backstay.core.errors import NotFound
from backstay.retrieval.types import DocumentPart

_WINDOW = 6000
"""Characters that are shown at once, where the document has no pages."""
_LONGEST_PAGE = 20_000
_BEFORE = 1500
_MOST = 20_000_000


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Characters that are alike: in the passage or not."""

    text: str
    is_marked: bool


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk, or what is between two."""

    number: int | None
    """Of the chunk among those shown; ``None``: it is in none."""
    runs: list[Run]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a document."""

    start: int
    length: int
    page: int | None = None
    pages: int = 0


async def show(visit: Visit) -> Response:
    """Show the part of a document that a passage is in, from ``start`` to ``end``, or from ``from`` on."""
    name, external_id = visit.request.path_params["collection"], visit.query.get("id", "")
    marked = (_number(visit, "start"), _number(visit, "end"))
    head = await visit.deps.collections.part(visit.tenant_id, name, external_id, start=0, length=0)
    at = _number(visit, "from") if "from" in visit.query else marked[0]
    if at and at >= head.characters:
        raise NotFound(f"{external_id} has {head.characters:,} characters: it may have changed since.")
    window = _window(head, at, is_exact="from" in visit.query)
    part = await visit.deps.collections.part(
        visit.tenant_id, name, external_id, start=window.start, length=window.length
    )
    before, after = _neighbours(head, window)
    return visit.page(
        "document.html",
        collection=name,
        document=part,
        window=window,
        marked=marked if marked[1] > marked[0] else None,
        blocks=_blocks(part, window.start, marked),
        before=None if before is None else visit.link(**{"from": str(before)}),
        after=None if after is None else visit.link(**{"from": str(after)}),
    )


def _number(visit: Visit, name: str) -> int:
    text = visit.query.get(name, "0")
    return min(int(text), _MOST) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _window(document: DocumentPart, at: int, *, is_exact: bool) -> Window:
    """Choose the page that a character is on; without pages some text before it and more after it."""
    starts = document.page_starts
    if starts:
        page = max(bisect_right(starts, at), 1)
        end = starts[page] if page < len(starts) else document.characters
        length = min(end - starts[page - 1], _LONGEST_PAGE)
        return Window(start=starts[page - 1], length=length, page=page, pages=len(starts))
    start = at if is_exact else max(at - _BEFORE, 0)
    return Window(start=start, length=min(_WINDOW, document.characters - start))


def _neighbours(document: DocumentPart, window: Window) -> tuple[int | None, int | None]:
    """Return where the parts before and after what is shown begin; ``None``: there is none."""
    end = window.start + window.length
    if window.page is not None:
        starts = document.page_starts
        before = starts[window.page - 2] if window.page > 1 else None
        return before, starts[window.page] if window.page < len(starts) else None
    return max(window.start - _WINDOW, 0) if window.start else None, end if end < document.characters else None


def _blocks(part: DocumentPart, offset: int, marked: tuple[int, int]) -> list[Block]:
    """Cut the text where chunks begin and end; of chunks that overlap, the later one begins where the first ends."""
    blocks: list[Block] = []
    at, end = offset, offset + len(part.text)
    for number, (start, stop) in enumerate(part.chunks, 1):
        start, stop = max(start, at), min(stop, end)
        if start > at:
            blocks.append(Block(number=None, runs=_runs(part.text, offset, (at, start), marked)))
        if stop > start:
            blocks.append(Block(number=number, runs=_runs(part.text, offset, (start, stop), marked)))
            at = stop
    if at < end:
        blocks.append(Block(number=None, runs=_runs(part.text, offset, (at, end), marked)))
    return [block for block in blocks if block.number is not None or any(run.text.strip() for run in block.runs)]


def _runs(text: str, offset: int, span: tuple[int, int], marked: Sequence[int]) -> list[Run]:
    start, end = span
    cuts = [start, *(min(max(cut, start), end) for cut in marked), end]
    return [
        Run(text=text[one - offset : other - offset], is_marked=number == 1)
        for number, (one, other) in enumerate(pairwise(cuts))
        if other > one
    ]
