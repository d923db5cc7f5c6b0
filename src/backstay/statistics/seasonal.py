"""Owns what an hour usually comes to, by the same hours of the weeks before it, and whether it is out of the ordinary.

Hours are counted since the Unix epoch. Amounts are of any unit, at least 0; an hour that is not given came to 0.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

WEEKS = 6
"""How many weeks before an hour say what is usual in it."""

_NEEDED_WEEKS = 3
_DAYS = 13
_NEEDED_DAYS = 3
_AROUND = (-1, 0, 1)
"""Hours beside the same one: a week's rhythm is not punctual."""

_NEEDED_BUSY = 24
"""Hours. Of a series that is mostly quiet, so many busy ones must be known."""

_POOLED = 168
"""Hours before one, whose deviations from what was usual in them say how far it may deviate."""

_MAD_TO_SIGMA = 1.4826
"""Of normal values. Source: P. J. Rousseeuw, C. Croux, "Alternatives to the median absolute deviation", JASA 88
(1993)."""

Hours = tuple[int, ...]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Basis = Literal["week", "day", "busy"]
"""What an hour is compared with. ``week``: the same hours of the weeks before. ``day``: the same hours of the days
before, while there are no three weeks. ``busy``: all busy hours of a series that is usually quiet in this one."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What is out of the ordinary: what is so in each of these ways."""

    least: float
    """So much above the usual. It is the scale's unit too: smaller amounts hardly differ on it."""
    times: float = 2.0
    """So many times the usual."""
    deviations: float = 4.5
    """So many standard deviations above it, estimated robustly on the logarithmic scale."""


class Usual(msgspec.Struct, frozen=True, kw_only=True):
    """What an hour would have come to as usual."""

    amount: float
    limit: float
    """What is more than this is out of the ordinary."""
    basis: Basis
    typical: tuple[int, ...]
    """The hours that say what is usual: of those compared with, the half whose amounts are nearest to it."""


class Calendar:
    """The hours that an hour is compared with, on the clocks of a time zone.

    After a change of daylight saving the same hour of the day is another of the epoch's.
    """

    def __init__(self, zone: ZoneInfo):
        self._zone = zone
        self._known: dict[int, tuple[Sequence[Hours], Sequence[Hours]]] = {}

    def before(self, hour: int) -> tuple[Sequence[Hours], Sequence[Hours]]:
        """Name the same hours, and those beside them, of each week and of each day before, the latest first."""
        found = self._known.get(hour)
        if found is None:
            at = (_EPOCH + timedelta(hours=hour)).astimezone(self._zone)
            found = self._known[hour] = (
                [_around(at, 7 * week) for week in range(1, WEEKS + 1)],
                [_around(at, day) for day in range(1, _DAYS + 1)],
            )
        return found


class Series:
    """What came hour by hour, as far as it is known."""

    def __init__(self, amounts: Mapping[int, float], rule: Rule, calendar: Calendar, *, since: int):
        """Begin with what is known.

        Args:
            amounts: Of each hour that came to more than 0.
            since: The first hour of which anything is known: what was before is not 0 but unknown.
        """
        self._amounts = amounts
        self._rule = rule
        self._calendar = calendar
        self._since = since
        self._middles: dict[int, float | None] = {}

    def may_exceed(self, hour: int) -> bool:
        """Whether an hour is far above the usual, whatever the deviations: for that its own references suffice."""
        found = self._usual(hour, pooled=False)
        return found is not None and self._amounts.get(hour, 0.0) > found.limit

    def exceeds(self, hour: int) -> Usual | None:
        """Say what would have been usual, if an hour is out of the ordinary; ``None``: it is not, or nobody knows.

        The scale is y = ln(1 + x / least): small amounts differ little on it, large ones by their ratio. On it, the
        median of the hours compared with is the usual, and the median absolute deviation of the week before, of each
        of its hours from what was usual in it, the unit of what is more than chance.
        Sources: of the started logarithm J. W. Tukey, "Exploratory Data Analysis" (1977), chapter 3; of median and MAD
        in rules for outliers F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974).
        """
        if not self.may_exceed(hour):
            return None
        found = self._usual(hour, pooled=True)
        return found if found is not None and self._amounts.get(hour, 0.0) > found.limit else None

    def _usual(self, hour: int, *, pooled: bool) -> Usual | None:
        compared = self._same_of_weeks(hour)
        if compared:
            if sum(self._of(each) > 0 for each in compared) * 2 < len(compared):
                return self._by_busy(hour, pooled=pooled)
            middle = statistics.median(map(self._log, compared))
            return self._with_limit(compared, middle, self._sigma(hour) if pooled else 0.0, "week")
        days = [day for day in self._calendar.before(hour)[1] if day[0] >= self._since]
        compared = [each for day in days for each in day if each < hour]
        if len(days) < _NEEDED_DAYS or not any(map(self._of, compared)):
            return None
        # A weekend may be among these days, or yet to come: the largest of them is what may be usual.
        return self._with_limit(compared, max(map(self._log, compared)), 0.0, "day")

    def _by_busy(self, hour: int, *, pooled: bool) -> Usual | None:
        """Compare with all busy hours: where they are not known yet, anything may exceed."""
        busy = [each for each in self._amounts if hour - WEEKS * 168 <= each < hour and self._of(each) > 0]
        if not pooled:
            return self._with_limit([hour], 0.0, 0.0, "busy")
        if len(busy) < _NEEDED_BUSY:
            return None
        logs = [self._log(each) for each in busy]
        middle = statistics.median(logs)
        return self._with_limit(busy, middle, _sigma([log - middle for log in logs]), "busy")

    def _sigma(self, hour: int) -> float:
        before = range(hour - _POOLED, hour)
        residuals = [self._log(each) - middle for each in before if (middle := self._middle(each)) is not None]
        return _sigma(residuals) if residuals else 0.0

    def _middle(self, hour: int) -> float | None:
        if hour not in self._middles:
            compared = self._same_of_weeks(hour)
            self._middles[hour] = statistics.median(map(self._log, compared)) if compared else None
        return self._middles[hour]

    def _same_of_weeks(self, hour: int) -> list[int]:
        """Name the same hours of the weeks before; none, where too few weeks are known."""
        weeks = [week for week in self._calendar.before(hour)[0] if week[0] >= self._since]
        return [each for week in weeks for each in week if each < hour] if len(weeks) >= _NEEDED_WEEKS else []

    def _of(self, hour: int) -> float:
        return self._amounts.get(hour, 0.0)

    def _log(self, hour: int) -> float:
        return math.log1p(self._of(hour) / self._rule.least)

    def _with_limit(self, compared: Sequence[int], middle: float, sigma: float, basis: Basis) -> Usual:
        rule = self._rule
        amount = rule.least * math.expm1(middle)
        times = max(rule.times, math.exp(min(rule.deviations * sigma, 50.0)))
        nearest = sorted(compared, key=lambda each: (abs(self._of(each) - amount), -each))
        return Usual(
            amount=amount,
            limit=(amount + rule.least) * times - rule.least,
            basis=basis,
            typical=tuple(sorted(nearest[: max(1, len(nearest) // 2)])),
        )


def split_excess(usual_calls: float, usual_each: float, calls: float, each: float) -> tuple[float, float]:
    """Split the difference of two products into what more calls and what dearer calls add.

    The part that both make together goes to each by half: (c1 - c0)(p0 + p1)/2 and (p1 - p0)(c0 + c1)/2 add up to
    c1·p1 - c0·p0. Source: of two factors, the value of L. S. Shapley, "A value for n-person games" (1953).
    """
    return (calls - usual_calls) * (usual_each + each) / 2, (each - usual_each) * (usual_calls + calls) / 2


def _around(at: datetime, days: int) -> Hours:
    same = int((at.replace(fold=0) - timedelta(days=days)).timestamp() // 3600)
    return tuple(same + beside for beside in _AROUND)


def _sigma(residuals: Sequence[float]) -> float:
    """Estimate a standard deviation about 0 from the median of what is deviated by."""
    return _MAD_TO_SIGMA * statistics.median(map(abs, residuals))
