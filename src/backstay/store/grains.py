"""Owns how a span of time is read from rollups: whole hours, quarters and days from them, the rest from rows.

Pure. The sums themselves, and the triggers that keep them, are in ``migrations/0003_rollups.sql``.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, LiteralString

import msgspec

GRAINS = (timedelta(days=1), timedelta(hours=6), timedelta(hours=1))
"""Lengths of what there are sums of, the longest first. Each begins at a multiple of its length since the epoch."""

SEALED = (timedelta(days=28), timedelta(days=7), timedelta(days=1), timedelta(hours=1))
"""Lengths of the stretches of which sums are made once they are over, the longest first."""

IsOpen = Callable[[timedelta, datetime], bool]
"""Whether the stretch of a length that begins at a time has entries that no sums have been made of yet."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_NUMBERS: tuple[LiteralString, ...] = ("0", "1", "2", "3", "4", "5", "6", "7")
"""Of edges: two spans have four at most, and what is not sealed yet has some more."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a span of time: a multiple of ``grain``, at multiples of it; ``None``: an edge that no sum covers."""

    grain: timedelta | None
    since: datetime
    until: datetime
    sign: int = 1
    """``-1``: it is taken away from a longer one that goes beyond the span."""
    is_sealed: bool = False
    """Whether it is read from the sums that are made once a stretch is over."""


class Cover(msgspec.Struct, frozen=True):
    """The pieces of a span of time: without gaps, and what is read twice is taken away once."""

    pieces: tuple[Piece, ...]

    def __add__(self, other: "Cover") -> "Cover":
        return Cover((*self.pieces, *other.pieces))

    @property
    def is_rolled(self) -> bool:
        """Whether any of it is read from sums."""
        return any(piece.grain for piece in self.pieces)

    def params(self) -> dict[str, Any]:
        """Give the parameters of a query that reads the pieces: arrays of the whole ones, each edge by its number."""
        whole = [(piece.grain, piece) for piece in self.pieces if piece.grain]
        return {
            "grains_s": [int(grain.total_seconds()) for grain, _ in whole],
            "whole_since": [piece.since for _, piece in whole],
            "whole_until": [piece.until for _, piece in whole],
            "whole_signs": [piece.sign for _, piece in whole],
            "whole_sealed": [piece.is_sealed for _, piece in whole],
            **{f"since_{number}": edge.since for number, edge in enumerate(self._edges)},
            **{f"until_{number}": edge.until for number, edge in enumerate(self._edges)},
            **{f"sign_{number}": edge.sign for number, edge in enumerate(self._edges)},
        }

    @property
    def is_readable(self) -> bool:
        """Whether a query can name all of its edges."""
        return len(self._edges) <= len(_NUMBERS)

    def query(self, text: LiteralString, edge: LiteralString) -> LiteralString:
        """Put into a query, for each edge, what reads its rows: at ``{edges}`` the text ``edge``, with its ``{n}``.

        Edges stand in the text one by one so that the planner sees their bounds: it then leaves out all partitions but
        theirs, whose planning would cost more than the reading.
        """
        edges: LiteralString = ""
        for number, _ in zip(_NUMBERS, self._edges, strict=False):
            edges += "union all\n" + edge.replace("{n}", number) + "\n"
        return text.replace("{edges}", edges)

    @property
    def _edges(self) -> list[Piece]:
        return [piece for piece in self.pieces if not piece.grain]


def rows_only(since: datetime, until: datetime) -> Cover:
    """Cover a span by its rows alone, for questions that no sum can answer."""
    return Cover((Piece(None, since, until),))


def cover(
    since: datetime,
    until: datetime,
    *,
    step: timedelta | None = None,
    grains: Sequence[timedelta] = GRAINS,
    now: datetime | None = None,
    is_open: IsOpen | None = None,
) -> Cover:
    """Cover a span by as few pieces as there can be.

    Args:
        since: In the years 1970 to 9000, as ``until``.
        step: The length of stretches that must be told apart, which begin at its multiples since the epoch; ``None``:
            the whole span is added up.
        grains: Lengths of what there are sums of, the longest first, each a multiple of the next.
        now: Pieces may go beyond the span by less than they have in it, and what is too much is taken away again. After
            this moment there is next to nothing, so that what lies there costs nothing to take away. ``None``: none do.
        is_open: Of which stretches there are no sums yet: no piece goes beyond the span into one.
    """
    usable = [grain for grain in grains if step is None or not step % grain]
    if now is not None:
        return Cover(tuple(_signed(since, until, usable, now, 1, is_open)))
    return Cover(tuple(_pieces(since, until, usable)))


def cover_sealed(
    since: datetime,
    until: datetime,
    sealed: Sequence[timedelta],
    *,
    grains: Sequence[timedelta],
    is_open: IsOpen,
    step: timedelta | None = None,
    now: datetime | None,
) -> Cover:
    """Cover a span by stretches that are sealed, and what is not by as few other pieces as there can be.

    Args:
        sealed: Lengths of stretches that are sealed once they are over, the longest first.
        grains: Lengths of what there are sums of at any time.
        is_open: Whether a stretch is not sealed, and has entries.
    """
    usable = [grain for grain in sealed if step is None or not step % grain]
    lengths = sorted({*usable, *grains}, reverse=True)
    pieces: list[Piece] = []

    def has_none(grain: timedelta, at: datetime) -> bool:
        return grain not in grains and is_open(grain, at)

    for piece in cover(since, until, step=step, grains=lengths, now=now, is_open=has_none).pieces:
        pieces += _by_stretches(piece, usable, grains, is_open, step)
    return Cover(tuple(pieces))


def _by_stretches(
    piece: Piece,
    sealed: Sequence[timedelta],
    grains: Sequence[timedelta],
    is_open: IsOpen,
    step: timedelta | None,
) -> Iterator[Piece]:
    """Cut a piece into runs of stretches that are sealed, and what stands in for those that are not."""
    if piece.grain is None or piece.grain not in sealed:
        yield piece
        return
    grain, begin = piece.grain, piece.since
    starts = [begin + number * grain for number in range((piece.until - begin) // grain)]
    for is_left, run in groupby(starts, key=partial(is_open, grain)):
        stretches = list(run)
        first, end = stretches[0], stretches[-1] + grain
        if not is_left:
            yield Piece(grain, first, end, piece.sign, is_sealed=True)
            continue
        smaller = [each for each in sealed if each < grain]
        lengths = sorted({*smaller, *(each for each in grains if each <= grain)}, reverse=True)
        for part in cover(first, end, step=step, grains=lengths).pieces:
            part = msgspec.structs.replace(part, sign=piece.sign)
            yield from [part] if part.grain == grain else _by_stretches(part, smaller, grains, is_open, step)


def floor(at: datetime, step: timedelta) -> datetime:
    """Give the last multiple of a step since the epoch that is not after a time."""
    return at - (at - EPOCH) % step


def _pieces(since: datetime, until: datetime, grains: list[timedelta]) -> Iterator[Piece]:
    if since >= until:
        return
    if not grains:
        yield Piece(None, since, until)
        return
    grain, *smaller = grains
    begin, end = floor(since - timedelta.resolution, grain) + grain, floor(until, grain)
    if begin >= end:
        yield from _pieces(since, until, smaller)
        return
    yield from _pieces(since, begin, smaller)
    yield Piece(grain, begin, end)
    yield from _pieces(end, until, smaller)


def _signed(
    since: datetime, until: datetime, grains: Sequence[timedelta], now: datetime, sign: int, is_open: IsOpen | None
) -> Iterator[Piece]:
    if since >= until:
        return
    if not grains:
        yield Piece(None, since, until, sign)
        return
    grain, *smaller = grains
    begin, end = _nearer(since, grain, now), _nearer(until, grain, now)
    if is_open is not None:
        begin = begin + grain if begin < since and is_open(grain, begin) else begin
        end = end - grain if end > until and is_open(grain, end - grain) else end
    edges = (
        (begin, since, -sign) if begin < since else (since, begin, sign),
        (end, until, sign) if end < until else (until, end, -sign),
    )
    # To read the edges must be less than to read the span as it is.
    read = sum((_until_now(first, last, now) for first, last, _ in edges), timedelta())
    if begin >= end or read >= _until_now(since, until, now):
        yield from _signed(since, until, smaller, now, sign, is_open)
        return
    yield Piece(grain, begin, end, sign)
    for first, last, its_sign in edges:
        yield from _signed(first, last, smaller, now, its_sign, is_open)


def _nearer(at: datetime, grain: timedelta, now: datetime) -> datetime:
    """Give the multiple of a grain between which and a time there is less, of what is before now."""
    before = floor(at, grain)
    after = before if before == at else before + grain
    return before if _until_now(before, at, now) <= _until_now(at, after, now) else after


def _until_now(since: datetime, until: datetime, now: datetime) -> timedelta:
    return max(min(until, now) - since, timedelta())
