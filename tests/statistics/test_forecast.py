"""Forecasts of sums over days, and how often what comes lies in their interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.statistics.forecast import crossings, forecast


def _days(seed: int, count: int, *, sigma: float, growth: float, drift: float) -> list[float]:
    """Spend by day: quiet weekends, noise, growth by the week, and a level that wanders."""
    random = np.random.default_rng(seed)
    days = np.arange(count)
    week = np.where(days % 7 >= 5, 0.3, 1.0)
    level = np.cumsum(random.normal(0, drift, count))
    return (100 * week * np.exp(random.normal(0, sigma, count) + level + growth * days / 7)).tolist()


_TRAFFIC = {
    "steady": {"sigma": 0.15, "growth": 0.0, "drift": 0.0},
    "growing": {"sigma": 0.15, "growth": 0.05, "drift": 0.0},
    "wandering": {"sigma": 0.2, "growth": 0.0, "drift": 0.03},
    "noisy": {"sigma": 0.4, "growth": 0.0, "drift": 0.01},
}


@pytest.mark.parametrize("kind", _TRAFFIC)
@pytest.mark.parametrize("known", [28, 60, 180])
def test_the_interval_holds_as_often_as_it_says(kind: str, known: int) -> None:
    """Four in five, over 120 histories and three horizons; wider than that while little is known, never much less."""
    hits = tries = 0
    for seed in range(40):
        for days in (5, 15, 29):
            path = _days(seed * 31 + days, known + days, **_TRAFFIC[kind])
            found = forecast(path[:known], days)
            assert found is not None and found.low is not None and found.high is not None
            hits += found.low <= sum(path[known:]) <= found.high
            tries += 1
    assert 0.70 <= hits / tries <= 0.97


def test_the_interval_is_of_use() -> None:
    """With half a year of steady days, a month's sum is told to within a fifth."""
    widths: list[float] = []
    for seed in range(30):
        found = forecast(_days(seed, 180, **_TRAFFIC["steady"]), 29)
        assert found is not None and found.low is not None and found.high is not None
        widths.append((found.high - found.low) / found.expected)
    assert np.median(widths) < 0.2


def test_growth_is_followed() -> None:
    """Ten per cent a week: the mean of four weeks alone would be a third too low."""
    history = [100 * math.exp(0.1 * day / 7) for day in range(180)]
    found = forecast(history, 28)
    assert found is not None
    assert found.expected == pytest.approx(sum(100 * math.exp(0.1 * day / 7) for day in range(180, 208)), rel=0.03)


def test_weekdays_differ() -> None:
    """The next days are those of the week that they are."""
    history = [10.0, 10.0, 10.0, 10.0, 10.0, 1.0, 1.0] * 4
    found = forecast(history, 9)
    assert found is not None
    assert found.days == pytest.approx([10, 10, 10, 10, 10, 1, 1, 10, 10])


def test_little_is_said_of_little() -> None:
    """Nothing of two days, no interval of a week, and an interval of three and a half weeks."""
    assert forecast([1.0, 2.0], 10) is None
    week = forecast([1.0] * 7, 10)
    assert week is not None
    assert (week.expected, week.low, week.high) == (pytest.approx(10), None, None)
    month = forecast(_days(1, 25, **_TRAFFIC["steady"]), 10)
    assert month is not None and month.low is not None


@given(st.lists(st.floats(0, 1e12), max_size=90), st.integers(0, 60))
def test_a_forecast_lies_in_its_interval(history: list[float], days: int) -> None:
    """Whatever the history, zeros included, the figures are finite and in order."""
    found = forecast(history, days)
    if found is None:
        assert len(history) < 3
        return
    assert math.isfinite(found.expected) and found.expected >= 0
    assert sum(found.days) == pytest.approx(found.expected, rel=1e-6, abs=1e-6)
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.expected * (1 + 1e-9) and found.expected <= found.high * (1 + 1e-9)


def test_an_amount_is_reached_within_a_day() -> None:
    """The part of the last day counts; an amount that is not reached has no day."""
    assert list(crossings([10.0, 0.0, 20.0], 20.0)) == [pytest.approx(2.5)]
    assert list(crossings([10.0, 0.0, 20.0], 31.0)) == []
    assert list(crossings([10.0], 0.0)) == [0.0]
