"""Owns forecasts of spend: what a month will have cost at its end, and when an amount will be spent."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString

import msgspec

from backstay.core.money import NanoUSD
from backstay.statistics.forecast import Forecast, crossings, forecast
from backstay.store import Database, load_queries
from backstay.store.grains import EPOCH, floor

COVERAGE = 0.8
"""The share of months in which the sum should lie in the interval."""

By = Literal["", "feature", "model", "key", "user"]

_DAY = timedelta(days=1)
_HISTORY = 182 * _DAY
_MOST = 50
_FAR = 366
"""Days. As far as it is said when an amount is spent."""
_TIMEOUT_S = 20.0

_QUERIES = load_queries("backstay.ledger", "forecasts.sql")


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose calls: those that fit all of it. A user and a tag exclude each other, as there are no sums by both."""

    feature: str | None = None
    model: str | None = None
    key: str | None = None
    user: str | None = None
    tag: str | None = None

    @property
    def is_added_up(self) -> bool:
        return self.user is None or self.tag is None


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody will have spent at the end of a time. Amounts are of all of it, what is spent already included."""

    name: str | None
    spent_nanousd: NanoUSD
    expected_nanousd: NanoUSD | None
    """``None``: there are less than three days of history."""
    low_nanousd: NanoUSD | None
    high_nanousd: NanoUSD | None
    """The ends of the interval; ``None``: there is too little history to say how wrong the forecast may be."""
    history_days: int
    tried: int
    """From how many days in the past the forecast was tried."""
    past: tuple[tuple[datetime, float], ...] = ()
    """What each day of the month came to, the part of today included, in nano-USD."""
    daily: tuple[tuple[datetime, float], ...] = ()
    """What is expected of each day that is left, today's rest first, in nano-USD."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody spent by day, of the days that are over."""

    name: str | None
    days: tuple[float, ...]
    """Whole days in a row up to yesterday, from the first that cost something."""
    by_day: Mapping[int, int]

    def spent(self, since: datetime) -> NanoUSD:
        """Add up the days from one on, today included."""
        first = (since - EPOCH) // _DAY
        return NanoUSD(sum(cost for day, cost in self.by_day.items() if day >= first))

    def past(self, since: datetime, now: datetime) -> tuple[tuple[datetime, float], ...]:
        """Give each day from one on, today included."""
        first, today = (since - EPOCH) // _DAY, (now - EPOCH) // _DAY
        return tuple((EPOCH + day * _DAY, float(self.by_day.get(day, 0))) for day in range(first, today + 1))


class Forecasts:
    """Forecasts one tenant's spend from its sums by day. Days and months are UTC."""

    def __init__(self, database: Database):
        self._database = database

    async def month(
        self, tenant_id: str, now: datetime, *, by: By = "", key_id: str | None = None
    ) -> tuple[Outlook, list[Outlook]]:
        """Forecast the sum of the month that runs, whole and for each value of a dimension, the dearest ``50``.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        rows = await self._fetch(_QUERIES["daily"], tenant_id, now, by=by, key_id=key_id, limit=_MOST)
        histories = [(row["is_total"], _history(row, row["name"], now)) for row in rows]
        starts, ends = month_of(now)

        def look() -> list[tuple[bool, Outlook]]:
            return [(is_total, outlook(each, each.spent(starts), now, ends)) for is_total, each in histories]

        found = await asyncio.to_thread(look)
        (total,) = (each for is_total, each in found if is_total)
        history = next(each for is_total, each in histories if is_total)
        total = msgspec.structs.replace(total, past=history.past(starts, now))
        return total, [each for is_total, each in found if not is_total]

    async def histories(self, tenant_id: str, scopes: Sequence[Scope], now: datetime) -> list[History]:
        """Read what the calls of each scope cost by day, of all scopes at once.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        asked = msgspec.json.encode([_ask(number, scope) for number, scope in enumerate(scopes)]).decode()
        rows = await self._fetch(_QUERIES["daily_of_scopes"], tenant_id, now, scopes=asked)
        found = {row["number"]: row for row in rows}
        return [_history(found.get(number, {}), None, now) for number, _ in enumerate(scopes)]

    async def _fetch(self, query: LiteralString, tenant_id: str, now: datetime, **params: Any) -> list[dict[str, Any]]:
        today = floor(now, _DAY)
        asked = {"tenant_id": tenant_id, "since": today - _HISTORY, "until": today + _DAY, **params}
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(query, asked, prepare=False)
            return await cursor.fetchall()


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Give the first moments of a month and of the next, UTC."""
    starts = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return starts, (starts + 32 * _DAY).replace(day=1)


def outlook(history: History, spent: NanoUSD, now: datetime, ends: datetime) -> Outlook:
    """Forecast what will have been spent at an end. Of days that are not whole, their part by the clock counts."""
    shares = _shares(now, ends)
    found = forecast(history.days, len(shares), coverage=COVERAGE)
    daily = tuple(day * share for day, share in zip(found.days, shares, strict=True)) if found else ()
    rest, today = math.fsum(daily), floor(now, _DAY)
    return Outlook(
        name=history.name,
        spent_nanousd=spent,
        expected_nanousd=None if found is None else NanoUSD(spent + round(rest)),
        low_nanousd=_end(spent, rest, found, None if found is None else found.low),
        high_nanousd=_end(spent, rest, found, None if found is None else found.high),
        history_days=len(history.days),
        tried=0 if found is None else found.tried,
        daily=tuple((today + place * _DAY, day) for place, day in enumerate(daily)),
    )


def spent_at(history: History, left: NanoUSD, now: datetime) -> datetime | None:
    """Say when an amount is expected to be spent; ``None``: not within a year, or nobody can say."""
    # As far ahead, growth would be made to go on for ever: the next week is taken to come again and again.
    found = forecast(history.days, 7, coverage=COVERAGE)
    if found is None:
        return None
    today = floor(now, _DAY)
    days = [found.days[0] * _shares(now, today + _DAY)[0], *(found.days[place % 7] for place in range(1, _FAR))]
    reached = next(crossings(days, float(left)), None)
    if reached is None:
        return None
    if reached < 1:
        return now + reached * (today + _DAY - now)
    return today + reached * _DAY


def _shares(now: datetime, ends: datetime) -> list[float]:
    """Give of each day from today on which part of it lies between now and an end."""
    shares: list[float] = []
    day = floor(now, _DAY)
    while day < ends:
        shares.append((min(day + _DAY, ends) - max(day, now)) / _DAY)
        day += _DAY
    return shares


def _end(spent: NanoUSD, rest: float, found: Forecast | None, end: float | None) -> NanoUSD | None:
    if found is None or end is None:
        return None
    return NanoUSD(spent + round(rest * end / found.expected)) if found.expected else spent


def _history(row: Mapping[str, Any], name: str | None, now: datetime) -> History:
    by_day: dict[int, int] = dict(zip(row.get("days") or (), row.get("costs") or (), strict=True))
    today = (now - EPOCH) // _DAY
    first = min((day for day, cost in by_day.items() if cost > 0), default=today)
    return History(name=name, days=tuple(float(by_day.get(day, 0)) for day in range(first, today)), by_day=by_day)


def _ask(number: int, scope: Scope) -> dict[str, Any]:
    kind = "user" if scope.user is not None else "tag" if scope.tag is not None else "all"
    return {
        "number": number,
        "kind": kind,
        "name": scope.user if scope.user is not None else scope.tag,
        "feature": scope.feature,
        "model": scope.model,
        "key": scope.key,
    }
