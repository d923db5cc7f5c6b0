"""Owns the forecast of a sum over the days to come: by weekday, with an interval from how wrong it would have been."""

import math
from collections.abc import Iterator, Sequence

import msgspec

_WEEK = 7
_WEEKS = 4
"""Of history that say what a weekday comes to; with less, as many as there are."""
_LEAST_WEEKS = 2
_FEW = 6
"""Origins of a backtest, below which nothing is said of the interval."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What days to come add up to."""

    expected: float
    low: float | None
    """The ends of the interval; ``None``: there is too little history to say how wrong the forecast may be."""
    high: float | None
    days: tuple[float, ...]
    """What each of the days is expected to come to."""
    tried: int
    """From how many days in the past the forecast was tried, to see how wrong it was."""


def forecast(history: Sequence[float], days: int, *, coverage: float = 0.8) -> Forecast | None:
    """Forecast the sum of the next days.

    Each day is expected to be the mean of the same weekday in the last four weeks (seasonal naive). The same forecast
    is then made from each past day that allows it, for as many days as the history allows, and compared with what came:
    the quantiles of these log ratios are the interval, and their median corrects the forecast where spend grows. Where
    the past is too short for as long a horizon, the errors of a shorter one are stretched with the square root of the
    ratio of lengths, as those of a random walk grow.
    Sources: R. J. Hyndman, G. Athanasopoulos, "Forecasting: Principles and Practice" (3rd ed., 2021), sections 5.2
    (seasonal naive), 5.10 (rolling origin) and 5.5; conformal quantiles: V. Vovk, A. Gammerman, G. Shafer, "Algorithmic
    Learning in a Random World" (2005).

    Args:
        history: Whole days, the latest last, each at least 0.
        days: How many days are forecast.
        coverage: The share of months in which the sum should lie in the interval.

    Returns:
        ``None`` with less than three days of history.
    """
    if len(history) < 3 or days < 0:
        return None
    plain = _by_weekday(history, days)
    errors, horizon = _past_errors(history, days)
    if days == 0 or len(errors) < _FEW:
        return Forecast(expected=math.fsum(plain), low=None, high=None, days=tuple(plain), tried=len(errors))
    stretch = math.sqrt(days / horizon)
    middle = _quantile(errors, 0.5)
    drift = _shrunk(middle, len(errors)) * days / horizon
    low, high = _bounds(errors, middle, horizon, coverage)
    total = math.fsum(plain)
    factor = math.exp(_held(drift))
    return Forecast(
        expected=total * factor,
        low=total * math.exp(_held(drift + low * stretch)),
        high=total * math.exp(_held(drift + high * stretch)),
        days=tuple(day * factor for day in plain),
        tried=len(errors),
    )


def _by_weekday(history: Sequence[float], days: int) -> list[float]:
    if len(history) < _LEAST_WEEKS * _WEEK:
        # Without two of each weekday nobody knows the week.
        return [math.fsum(history) / len(history)] * days
    weeks = min(_WEEKS, len(history) // _WEEK)
    last = history[-weeks * _WEEK :]
    means = [math.fsum(last[day::_WEEK]) / weeks for day in range(_WEEK)]
    return [means[day % _WEEK] for day in range(days)]


def _past_errors(history: Sequence[float], days: int) -> tuple[list[float], int]:
    """Give the log ratios of what came to what would have been forecast, and over how many days."""
    spare = len(history) - _LEAST_WEEKS * _WEEK
    horizon = max(1, min(days, spare // 2))
    errors: list[float] = []
    for origin in range(_LEAST_WEEKS * _WEEK, len(history) - horizon + 1):
        said = math.fsum(_by_weekday(history[:origin], horizon))
        came = math.fsum(history[origin : origin + horizon])
        if said > 0 and came > 0:
            errors.append(math.log(came / said))
    return errors, horizon


def _bounds(errors: Sequence[float], middle: float, horizon: int, coverage: float) -> tuple[float, float]:
    """Give the quantiles of the errors about their middle, wider where few of them are independent of each other."""
    independent = max(1.0, len(errors) / horizon)
    # Of n independent errors, the quantile (n + 1) · p / n holds what p promises; of few of them even the largest does
    # not, so that it is stretched as a prediction from n normal values is.
    level = min(1.0, (1 + coverage) / 2 * (1 + 1 / len(errors)))
    wider = math.sqrt(1 + 1 / independent) * (1 + 1 / independent)
    low, high = _quantile(errors, 1 - level) - middle, _quantile(errors, level) - middle
    return low * wider, high * wider


def _shrunk(middle: float, count: int) -> float:
    return middle * count / (count + _WEEK)


def _quantile(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    place = share * (len(ranked) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (place - below)


def _held(log: float) -> float:
    """Keep a factor within a million."""
    return max(-13.8, min(13.8, log))


def crossings(days: Sequence[float], left: float) -> Iterator[float]:
    """Give after how many days, with its part of the last, a sum reaches an amount; nothing if it does not."""
    for place, day in enumerate(days):
        if day > 0 and day >= left:
            yield place + max(0.0, left) / day
            return
        left -= day
