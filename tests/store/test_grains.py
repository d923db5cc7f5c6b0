"""How a span of time is covered by whole stretches and edges."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backstay.store.grains import EPOCH, GRAINS, SEALED, cover, cover_sealed, floor, rows_only

WITH_WEEKS = (timedelta(days=7), *GRAINS)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))
lengths = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))
steps = st.none() | st.sampled_from([timedelta(seconds=s) for s in (1, 900, 3600, 21_600, 86_400, 604_800)])


@given(moments, lengths, steps)
def test_pieces_are_the_span_without_gaps(since: datetime, length: timedelta, step: timedelta | None) -> None:
    """Each piece begins where the one before ends; whole ones lie at multiples of their grain, within one step."""
    pieces = cover(since, since + length, step=step).pieces
    assert (pieces[0].since, pieces[-1].until) == (since, since + length)
    assert all(before.until == after.since for before, after in pairwise(pieces))
    for piece in pieces:
        assert piece.since < piece.until
        if piece.grain is not None:
            assert not (piece.since - EPOCH) % piece.grain and not (piece.until - EPOCH) % piece.grain
            assert step is None or not step % piece.grain


@given(moments, lengths)
def test_few_pieces_and_short_edges(since: datetime, length: timedelta) -> None:
    """At most two edges, each under an hour, and at most two pieces of each grain, but one of days."""
    pieces = cover(since, since + length).pieces
    edges = [piece for piece in pieces if piece.grain is None]
    assert len(edges) <= 2 and len(pieces) <= 7
    shortest = GRAINS[-1]
    assert all(edge.until - edge.since < shortest for edge in edges) or length < 2 * shortest


def test_a_step_below_an_hour_is_read_from_rows() -> None:
    """There are no sums of less than an hour: such a span is one edge."""
    since = datetime(2026, 5, 1, tzinfo=UTC)
    assert cover(since, since + timedelta(days=1), step=timedelta(minutes=15)) == rows_only(
        since, since + timedelta(days=1)
    )
    assert not rows_only(since, since + timedelta(days=1)).is_rolled


def test_a_week_is_read_from_days_and_quarters() -> None:
    """The page's week that begins at six is 18 hours, six days and six hours: no row is read for it."""
    since = datetime(2026, 5, 1, 6, tzinfo=UTC)
    params = cover(since, since + timedelta(days=7)).params()
    assert params["grains_s"] == [21_600, 86_400, 21_600]
    assert not any(name.startswith("since_") for name in params)


@given(moments, lengths, steps, st.timedeltas(timedelta(days=-500), timedelta(days=500)))
def test_what_is_read_beyond_a_span_is_taken_away(
    since: datetime, length: timedelta, step: timedelta | None, ahead: timedelta
) -> None:
    """Each moment of the span counts once in all, and no other does, wherever now is; stretches are within a step."""
    until = since + length
    pieces = cover(since, until, step=step, grains=WITH_WEEKS, now=until + ahead).pieces
    for at in {moment for piece in pieces for moment in (piece.since, piece.until - timedelta.resolution)}:
        counted = sum(piece.sign for piece in pieces if piece.since <= at < piece.until)
        assert counted == (since <= at < until)
    for piece in pieces:
        assert piece.since < piece.until
        if piece.grain is not None:
            assert not (piece.since - EPOCH) % piece.grain and not (piece.until - EPOCH) % piece.grain
            assert step is None or not step % piece.grain
        elif step is not None:
            assert floor(piece.since, step) >= floor(since, step)


def test_days_up_to_now_are_read_as_whole_weeks() -> None:
    """Thirty days up to midnight: five weeks, less the day before and what nobody can have written yet."""
    until = datetime(2026, 11, 29, tzinfo=UTC)
    pieces = cover(
        until - timedelta(days=30), until, grains=WITH_WEEKS, now=datetime(2026, 11, 28, 23, 22, tzinfo=UTC)
    ).pieces
    week, *rest = pieces
    assert (week.since, week.until, week.sign) == (
        datetime(2026, 10, 29, tzinfo=UTC),
        datetime(2026, 12, 3, tzinfo=UTC),
        1,
    )
    read: list[Any] = [(piece.since, piece.until, piece.sign) for piece in rest]
    assert read == [
        (datetime(2026, 10, 29, tzinfo=UTC), datetime(2026, 10, 30, tzinfo=UTC), -1),
        (until, datetime(2026, 12, 3, tzinfo=UTC), -1),
    ]


@given(moments, lengths)
def test_what_is_taken_away_is_shorter(since: datetime, length: timedelta) -> None:
    """Edges are half an hour at most, and no way is longer than to read the span as it is."""
    until = since + length
    pieces = cover(since, until, now=until + length).pieces
    edges = [piece for piece in pieces if piece.grain is None]
    assert len(edges) <= 2
    assert all(edge.until - edge.since <= GRAINS[-1] / 2 for edge in edges) or length < GRAINS[-1]


@given(moments, steps.filter(bool))
def test_floor_is_the_last_multiple_before(at: datetime, step: timedelta) -> None:
    """It is a multiple of the step, not after the time, and less than a step before it."""
    found = floor(at, step)
    assert not (found - EPOCH) % step and found <= at < found + step


@given(
    moments,
    st.timedeltas(timedelta(microseconds=1), timedelta(days=70)),
    st.sampled_from([(SEALED[:2], GRAINS), (SEALED[:3], GRAINS), (SEALED, ())]),
    st.none() | st.sampled_from([timedelta(hours=1), timedelta(days=1)]),
    st.integers(0, 6),
    st.none() | st.timedeltas(timedelta(days=-80), timedelta(days=80)),
)
def test_what_is_not_sealed_is_read_otherwise(
    since: datetime,
    length: timedelta,
    kind: tuple[Sequence[timedelta], Sequence[timedelta]],
    step: timedelta | None,
    seed: int,
    ahead: timedelta | None,
) -> None:
    """Each moment of the span counts once, whichever stretches are open, and none of these is read as a sealed one."""
    until, (sealed, grains) = since + length, kind
    now = None if ahead is None else until + ahead

    def is_open(grain: timedelta, at: datetime) -> bool:
        assert not (at - EPOCH) % grain
        return seed > 0 and (at - EPOCH) // grain * 7919 % 101 % seed == 0

    covered = cover_sealed(since, until, sealed, grains=grains, is_open=is_open, step=step, now=now)
    for at in {moment for piece in covered.pieces for moment in (piece.since, piece.until - timedelta.resolution)}:
        counted = sum(piece.sign for piece in covered.pieces if piece.since <= at < piece.until)
        assert counted == (since <= at < until)
    for piece in covered.pieces:
        assert piece.grain in (None, *grains) or piece.is_sealed
        assert now is not None or (piece.sign == 1 and since <= piece.since < piece.until <= until)
        if piece.is_sealed:
            assert piece.grain is not None and piece.grain in sealed and (step is None or not step % piece.grain)
            at = piece.since
            while at < piece.until:
                assert not is_open(piece.grain, at)
                at += piece.grain
