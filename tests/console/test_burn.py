"""Tests of the drawing of a budget's window: what is spent by each moment, and where lines lie."""

from datetime import UTC, datetime, timedelta

from backstay.budgets.burn import BUCKETS, Burn
from backstay.console.burn import burn_moments, burn_plot, even_line, spent_line
from backstay.console.plots import Series
from backstay.core.money import NanoUSD

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def burn(**spent: int) -> Burn:
    parts = [NanoUSD(spent.get(f"p{part}", 0)) for part in range(BUCKETS)]
    return Burn(since=START, until=START + DAY, spent=tuple(parts))


def test_what_is_spent_adds_up_until_now_and_is_unknown_after() -> None:
    """Half an hour a part; the part that now lies in counts all that it has."""
    now = START + timedelta(minutes=75)
    one = burn(p0=100, p1=20, p2=3)
    moments = burn_moments(one, now)
    assert len(moments) == BUCKETS + 2 and moments[3] == now
    values = spent_line(one, moments, now).values
    assert values[:4] == (0, 100, 120, 123)
    assert set(values[4:]) == {None}


def test_a_window_that_is_over_is_drawn_to_its_end() -> None:
    """Nothing is missing of the last part, and no moment lies beyond it."""
    one = burn(p0=1, p47=2)
    moments = burn_moments(one, START + 2 * DAY)
    assert moments[-1] == START + DAY and len(moments) == BUCKETS + 1
    assert spent_line(one, moments, START + 2 * DAY).values[-2:] == (1, 3)


def test_a_clock_that_is_behind_draws_what_there_is() -> None:
    """Now lies before the window: its first moment stands for it."""
    one = burn(p0=5)
    now = START - timedelta(seconds=3)
    values = spent_line(one, burn_moments(one, now), now).values
    assert values[0] == 5 and set(values[1:]) == {None}


def test_even_spending_reaches_the_limit_at_the_end() -> None:
    """And half of it at half time."""
    one = burn()
    moments = burn_moments(one, START + DAY / 2)
    line = even_line(one, moments, 1000)
    assert (line.values[0], line.values[BUCKETS // 2], line.values[-1]) == (0, 500, 1000)


def test_all_lines_fit_and_the_first_is_filled() -> None:
    """The limit and any further line share one scale; labels are even, wherever now is."""
    one = burn(p0=2000)
    now = START + DAY / 2
    moments = burn_moments(one, now)
    more = Series(name="more", values=tuple(3000.0 for _ in moments))
    lines = [spent_line(one, moments, now), even_line(one, moments, 1000), more]
    plot = burn_plot(moments, lines, limit=1000, write=str, height=100)
    ys = [float(point.split(",")[1]) for line in plot.lines for point in line.points.split()]
    assert min(ys) >= 0 and max(ys) == 100
    assert [bool(line.area) for line in plot.lines] == [True, False, False]
    assert plot.limit_y == round(100 - 100 * 1000 / 3200, 2)
    assert [mark.at for mark in plot.marks] == [START + DAY * sixth / 6 for sixth in range(6)]


def test_a_budget_of_nothing_is_drawn() -> None:
    """A limit of zero without any spending has a scale all the same."""
    one = burn()
    moments = burn_moments(one, START)
    plot = burn_plot(moments, [spent_line(one, moments, START)], limit=0, write=str, height=100)
    assert plot.limit_y == 100 and plot.lines[0].points == "0.00,100.00"
