"""Plots: whatever the figures, nothing leaves the box, and amounts keep their proportions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.console.plots import (
    GRID_LINES,
    SPARK_HEIGHT,
    SPARK_WIDTH,
    Series,
    Stage,
    nice_step,
    spark,
    stacked_bars,
    stage,
    strongest,
)

START = datetime(2026, 5, 1, tzinfo=UTC)

amounts = st.one_of(st.none(), st.floats(0, 1e15))


@st.composite
def series_of_one_length(draw: st.DrawFn) -> list[Series]:
    length = draw(st.integers(1, 40))
    rows = draw(st.lists(st.lists(amounts, min_size=length, max_size=length), min_size=1, max_size=7))
    return [Series(name=f"s{number}", values=tuple(row)) for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("largest", "step"),
    [(0, 1), (24, 6), (21.5, 6), (4, 1), (4.1, 1.5), (1, 0.25), (100, 25), (950, 250), (1e9, 2.5e8)],
)
def test_grid_lines_stand_at_round_numbers(largest: float, step: float) -> None:
    """Four lines of a round distance reach the largest amount."""
    assert nice_step(largest) == pytest.approx(step)


@given(st.floats(1e-6, 1e18))
def test_four_grid_lines_always_reach_the_largest(largest: float) -> None:
    """The plot is never lower than its bars, and at most twice and a half as high."""
    assert largest * 0.99999 <= nice_step(largest) * GRID_LINES <= largest * 2.5


@given(series_of_one_length())
def test_bars_stay_inside(series: list[Series]) -> None:
    """Every segment lies between the zero line and the top, every column between left and right."""
    starts = [START + index * timedelta(hours=1) for index in range(len(series[0].values))]
    plot = stacked_bars(starts, series, write=str, link=str)
    segments = [segment for column in plot.columns for segment in column.segments]
    assert [
        segment for segment in segments if segment.y < -0.51 or segment.y + segment.height > plot.height + 0.51
    ] == []
    assert [column for column in plot.columns if column.x < 0 or column.x + column.width > 100.01] == []
    assert len(plot.ticks) == GRID_LINES + 1


def test_bars_are_zero_based_and_in_proportion() -> None:
    """Twice the money is twice the height, and the stack begins at the zero line."""
    plot = stacked_bars([START, START], [Series(name="a", values=(10.0, 20.0))], write=str, link=str, height=150)
    (small,), (large,) = (column.segments for column in plot.columns)
    assert small.y + small.height == large.y + large.height == 150
    assert large.height + 1 == pytest.approx(2 * (small.height + 1))


def test_an_amount_of_nothing_draws_nothing() -> None:
    """Zero and unknown have no segment, however thin."""
    plot = stacked_bars([START, START], [Series(name="a", values=(0.0, None))], write=str, link=str)
    assert [column.segments for column in plot.columns] == [(), ()]


@given(series_of_one_length())
def test_strongest_series_lose_nothing(series: list[Series]) -> None:
    """At most five series remain, and they add up to all of them."""
    kept = strongest(series)
    assert len(kept) <= 5
    assert sum(one.total for one in kept) == pytest.approx(sum(one.total for one in series))


@given(st.lists(amounts, max_size=50))
def test_sparks_stay_inside(values: list[float | None]) -> None:
    """Every point of a line lies in its box, and there is a line wherever there is a figure."""
    drawn = spark(values)
    points = [tuple(map(float, point.split(","))) for line in drawn.lines for point in line.split()]
    assert all(0 <= x <= SPARK_WIDTH + 1 and 0 <= y <= SPARK_HEIGHT for x, y in points)
    assert bool(drawn.lines) == any(value is not None for value in values)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_stages_stay_inside(started_ns: int, duration_ns: int, whole_ns: int) -> None:
    """A span's bar is visible and never leaves the timeline, even where clocks disagree."""
    place = stage(started_ns, duration_ns, whole_started_ns=0, whole_ns=whole_ns)
    assert place.x >= 0
    assert place.width >= 0.59
    assert place.x + place.width <= 100.01


def test_stage_is_where_it_was() -> None:
    """The second half of a call is the right half of the timeline."""
    assert stage(150, 50, whole_started_ns=100, whole_ns=100) == Stage(x=50, width=50)
