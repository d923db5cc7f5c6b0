"""What an hour usually comes to, and how often that raises a false alarm, on traffic made for it."""

import datetime as dt
import math
from collections.abc import Mapping
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.statistics.seasonal import Calendar, Rule, Series, split_excess

_UTC = ZoneInfo("UTC")
_RULE = Rule(least=1.0)
_LAST = 8 * 168


def _traffic(seed: int, *, sigma: float, mean: float = 20.0, growth: float = 0.0) -> dict[int, float]:
    """Eight weeks of hours: a day's hump, quiet weekends, log-normal noise that lasts, growth by the week."""
    random = np.random.default_rng(seed)
    hours = np.arange(_LAST)
    day = 0.35 + 0.65 * np.exp(-(((hours % 24 - 14) / 5.0) ** 2))
    week = np.where((hours // 24) % 7 >= 5, 0.3, 1.0)
    noise, shocks = np.zeros(_LAST), random.normal(0, 1, _LAST)
    for hour in range(1, _LAST):
        noise[hour] = 0.7 * noise[hour - 1] + math.sqrt(1 - 0.49) * shocks[hour]
    found: list[float] = (mean * day * week * np.exp(sigma * noise + growth * hours / 168)).tolist()
    return dict(enumerate(found))


def _series(amounts: Mapping[int, float], since: int = 0, zone: ZoneInfo = _UTC) -> Series:
    return Series(amounts, _RULE, Calendar(zone), since=since)


def _false_alarms(sigma: float, growth: float = 0.0) -> int:
    found = 0
    for seed in range(20):
        series = _series(_traffic(seed, sigma=sigma, growth=growth))
        found += sum(series.exceeds(hour) is not None for hour in range(7 * 168, _LAST))
    return found


def _detected(sigma: float, times: float) -> float:
    """Plant a spike in one hour of each hundred, one at a time."""
    hits = tries = 0
    for seed in range(20):
        amounts = _traffic(seed, sigma=sigma)
        for hour in range(7 * 168 + seed, _LAST, 41):
            planted = {**amounts, hour: amounts[hour] * times}
            hits += _series(planted).exceeds(hour) is not None
            tries += 1
    return hits / tries


@pytest.mark.parametrize(("sigma", "most"), [(0.1, 0), (0.2, 0), (0.3, 2), (0.5, 2)])
def test_false_alarms_are_rare(sigma: float, most: int) -> None:
    """In 3,360 hours of usual traffic, however noisy."""
    assert _false_alarms(sigma) <= most


def test_growth_is_no_anomaly() -> None:
    """Ten per cent a week, with noise."""
    assert _false_alarms(0.2, growth=0.1) <= 1


@pytest.mark.parametrize(("sigma", "times", "least"), [(0.1, 3, 0.97), (0.2, 4, 0.92), (0.3, 5, 0.70), (0.3, 10, 0.97)])
def test_spikes_are_found(sigma: float, times: float, least: float) -> None:
    """A share of hours that came to so many times what they would have, at the noise of the traffic."""
    assert _detected(sigma, times) >= least


def test_an_hour_is_compared_with_its_own_of_the_week() -> None:
    """What is usual at noon on a weekday is out of the ordinary at four in the morning."""
    amounts = _traffic(1, sigma=0.1)
    night = 7 * 168 + 4
    found = _series({**amounts, night: amounts[7 * 168 + 14] * 1.2}).exceeds(night)
    assert found is not None
    assert found.basis == "week"
    assert found.amount == pytest.approx(amounts[night], rel=0.5)
    assert all(hour % 24 in (3, 4, 5) for hour in found.typical)


def test_cents_do_not_alarm() -> None:
    """A thousand times nothing is less than what matters."""
    amounts = dict.fromkeys(range(_LAST), 0.001)
    assert _series({**amounts, _LAST - 5: 1.0}).exceeds(_LAST - 5) is None
    assert _series({**amounts, _LAST - 5: 1.1}).exceeds(_LAST - 5) is not None


def test_without_three_weeks_the_days_say_what_is_usual() -> None:
    """The largest of them, as nobody knows the week yet; and nothing before the fourth day."""
    amounts = {hour: 10.0 if hour // 24 % 7 < 5 else 2.0 for hour in range(14 * 24)}
    monday = 7 * 24 + 12
    assert _series({**amounts, monday: 19.0}).exceeds(monday) is None
    found = _series({**amounts, monday: 30.0}).exceeds(monday)
    assert found is not None
    assert (found.basis, found.amount) == ("day", pytest.approx(10.0))
    assert _series({**amounts, 50: 1000.0}).exceeds(50) is None, "two days say nothing"


def test_a_job_that_comes_at_any_hour_is_compared_with_itself() -> None:
    """One that runs every 31 hours is out of the ordinary when it costs ten times as much, not when it runs."""
    amounts = {hour: 50.0 + hour % 7 for hour in range(0, _LAST, 31)}
    last = max(amounts)
    assert _series(amounts).exceeds(last) is None
    found = _series({**amounts, last: 500.0}).exceeds(last)
    assert found is not None
    assert (found.basis, found.amount) == ("busy", pytest.approx(53.0, abs=2))


def test_gaps_are_no_usage() -> None:
    """A week without any records among six does not make the next one an anomaly."""
    amounts = {hour: amount for hour, amount in _traffic(3, sigma=0.1).items() if not 4 * 168 <= hour < 5 * 168}
    series = _series(amounts)
    assert not [hour for hour in range(7 * 168, _LAST) if series.exceeds(hour)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_hours_follow_the_clocks(zone: str) -> None:
    """Each hour compared with is the same on the wall, or beside it, whatever daylight saving did meanwhile."""
    calendar, place = Calendar(ZoneInfo(zone)), ZoneInfo(zone)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for at in (dt.datetime(2026, 3, 30, 9, tzinfo=dt.UTC), dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)):
        hour = int((at - epoch).total_seconds() // 3600)
        wall = at.astimezone(place)
        for week in calendar.before(hour)[0]:
            same = (epoch + dt.timedelta(hours=week[1])).astimezone(place)
            assert same.weekday() == wall.weekday()
            minutes = (same.hour - wall.hour) * 60 + same.minute - wall.minute
            assert abs(minutes) <= 30, "half an hour of Lord Howe's"


@given(*[st.floats(0, 1e6) for _ in range(4)])
def test_an_excess_is_split_without_a_rest(calls: float, each: float, more: float, dearer: float) -> None:
    """What more calls and what dearer calls add is what came beyond."""
    parts = split_excess(calls, each, more, dearer)
    assert sum(parts) == pytest.approx(more * dearer - calls * each, rel=1e-9, abs=1e-3)


@given(
    st.dictionaries(st.integers(0, 1500), st.floats(0, 1e9), max_size=60), st.integers(0, 1500), st.integers(0, 1500)
)
def test_what_is_out_of_the_ordinary_is_above_its_limit(amounts: dict[int, float], hour: int, since: int) -> None:
    """Whatever the history, and the limit is at least twice the usual and more than a dollar above it."""
    found = _series(amounts, since=since).exceeds(hour)
    if found is not None:
        assert amounts[hour] > found.limit >= 2 * found.amount
        assert found.limit >= found.amount + 1
        assert found.typical
