"""Owns how a span of time is read from rollups: whole hours, quarters and days from them, the rest from rows.

Pure. The sums themselves, and the triggers that keep them, are in ``migrations/0003_rollups.sql``.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import msgspec

GRAINS = (timedelta(days=1), timedelta(hours=6), timedelta(hours=1))
"""Lengths of what there are sums of, the longest first. Each begins at a multiple of its length since the epoch."""

WITH_WEEKS = (timedelta(days=7), *GRAINS)
"""The same for sums of which there are weeks, too: those of users alone."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_NUMBERS: tuple[LiteralString, ...] = ("0", "1", "2", "3")
"""Of edges: two spans have four at most."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a span of time: a multiple of ``grain``, at multiples of it; ``None``: an edge that no sum covers."""

    grain: timedelta | None
    since: datetime
    until: datetime


class Cover(msgspec.Struct, frozen=True):
    """The pieces of a span of time, in order, without gaps."""

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
            **{f"since_{number}": edge.since for number, edge in enumerate(self._edges)},
            **{f"until_{number}": edge.until for number, edge in enumerate(self._edges)},
        }

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
    since: datetime, until: datetime, *, step: timedelta | None = None, grains: Sequence[timedelta] = GRAINS
) -> Cover:
    """Cover a span by as few pieces as there can be.

    Args:
        since: In the years 1970 to 9000, as ``until``.
        step: The length of stretches that must be told apart, which begin at its multiples since the epoch; ``None``:
            the whole span is added up.
        grains: Lengths of what there are sums of, the longest first, each a multiple of the next.
    """
    usable = [grain for grain in grains if step is None or not step % grain]
    return Cover(tuple(_pieces(since, until, usable)))


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
