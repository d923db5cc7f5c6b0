"""Owns the search for hours in which somebody spent far more than usual, and for what of it changed."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD
from backstay.ledger.anomaly import Anomaly, AnomalyConfig, Part, Scope, Sums, largest_parts
from backstay.statistics.seasonal import WEEKS, Calendar, Rule, Series, Usual
from backstay.store import Database, load_queries
from backstay.store.grains import EPOCH

LONGEST = timedelta(days=31)
"""Of what is looked through at once."""

MOST = 50
"""Anomalies that are explained, of those the dearest."""

_HOUR = timedelta(hours=1)
_TIMEOUT_S = 30.0
_SAME = 0.75
"""Two scopes whose excesses are at least so much alike have the same."""
_MOST_TYPICAL = 64
_LONG_AGO = -(10**9)

_QUERIES = load_queries("backstay.ledger", "anomalies.sql")

_Scope = tuple[Scope, str]


class _Found(msgspec.Struct, kw_only=True):
    """Hours of one scope that follow each other, each with what would have been usual."""

    scope: _Scope
    hours: dict[int, Usual]
    excess: float

    def overlaps(self, other: "_Found") -> bool:
        return not self.hours.keys().isdisjoint(other.hours)


class Anomalies:
    """Finds what is out of the ordinary in one tenant's spend. Times are aware; ``until`` is not included."""

    def __init__(self, database: Database):
        self._database = database

    async def find(
        self, tenant_id: str, config: AnomalyConfig, *, since: datetime, until: datetime, key_id: str | None = None
    ) -> list[Anomaly]:
        """Find the hours that are out of the ordinary, for the tenant and each of its keys, users, features and models.

        The hour that runs counts with what it came to so far. All scopes are read at once: first only the hours that
        say what is usual, then all hours of the few scopes that may have exceeded it.

        Args:
            key_id: Only what this key spent.

        Returns:
            At most ``MOST``, those with the largest excess first. Hours that follow each other are one, and so is the
            same excess in several scopes.

        Raises:
            InvalidRequest: The time is too long.
            StoreUnavailable: Postgres does not answer.
        """
        first, last = (since - EPOCH) // _HOUR, (until - timedelta.resolution - EPOCH) // _HOUR
        if until - since > LONGEST:
            raise InvalidRequest(f"`since` must be at most {LONGEST.days} days before `until`.", param="since")
        if until <= since:
            return []
        rule, calendar = config.rule(), Calendar(ZoneInfo(config.time_zone))
        judged = range(first, last + 1)
        asked = {"tenant_id": tenant_id, "key_id": key_id, "first": first, "last": last, "least": rule.least}
        coarse = await self._fetch(asked, hours=_moments(_compared(judged, calendar)), dimensions=None, names=None)
        likely = await asyncio.to_thread(_likely, coarse, judged, rule, calendar)
        if not likely:
            return []
        whole = await self._fetch(
            asked,
            hours=_moments(range(first - (WEEKS + 1) * 168 - 2, last + 1)),
            dimensions=[dimension for dimension, _ in likely],
            names=[name for _, name in likely],
        )
        found = await asyncio.to_thread(_judge, whole, judged, rule, calendar)
        return await self._explain(tenant_id, key_id, _grouped(found)[:MOST])

    async def _explain(
        self, tenant_id: str, key_id: str | None, found: Sequence[tuple[_Found, tuple[_Scope, ...]]]
    ) -> list[Anomaly]:
        if not found:
            return []
        findings = msgspec.json.encode([_ask(number, each) for number, (each, _) in enumerate(found)]).decode()
        rows = await self._run(
            _QUERIES["explain"], tenant_id, {"tenant_id": tenant_id, "key_id": key_id, "findings": findings}
        )
        by_number: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_number.setdefault(row["number"], []).append(row)
        told = [_anomaly(each, also, by_number.get(place, [])) for place, (each, also) in enumerate(found)]
        return sorted(told, key=lambda each: (-each.excess_nanousd, each.scope, each.name))

    async def _fetch(self, asked: Mapping[str, Any], **more: Any) -> list[dict[str, Any]]:
        return await self._run(_QUERIES["scope_hours"], asked["tenant_id"], {**asked, **more})

    async def _run(self, query: LiteralString, tenant_id: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(query, params, prepare=False)
            return await cursor.fetchall()


def _compared(judged: Iterable[int], calendar: Calendar) -> set[int]:
    """Name the hours that are judged and all that they are compared with."""
    found: set[int] = set()
    for hour in judged:
        found.add(hour)
        for same in calendar.before(hour):
            for around in same:
                found.update(around)
    return found


def _moments(hours: Iterable[int]) -> list[datetime]:
    return [EPOCH + hour * _HOUR for hour in sorted(hours)]


def _amounts(row: Mapping[str, Any]) -> dict[int, float]:
    return dict(zip(row["hours"], map(float, row["costs"]), strict=True))


def _likely(rows: Sequence[dict[str, Any]], judged: range, rule: Rule, calendar: Calendar) -> list[_Scope]:
    """Find the scopes that may have exceeded the usual, from as few of their hours as say so."""
    found: list[_Scope] = []
    for row in rows:
        amounts = _amounts(row)
        series = Series(amounts, rule, calendar, since=_LONG_AGO)
        if any(series.may_exceed(hour) for hour in judged if amounts.get(hour, 0.0) > rule.least):
            found.append((row["dimension"], row["name"]))
    return found


def _judge(rows: Sequence[dict[str, Any]], judged: range, rule: Rule, calendar: Calendar) -> list[_Found]:
    found: list[_Found] = []
    for row in rows:
        amounts = _amounts(row)
        series = Series(amounts, rule, calendar, since=min(amounts))
        run: _Found | None = None
        for hour in judged:
            usual = series.exceeds(hour) if amounts.get(hour, 0.0) > rule.least else None
            if usual is None:
                continue
            if run is None or hour - 1 not in run.hours:
                run = _Found(scope=(row["dimension"], row["name"]), hours={}, excess=0.0)
                found.append(run)
            run.hours[hour] = usual
            run.excess += amounts[hour] - usual.amount
    return found


def _grouped(found: Sequence[_Found]) -> list[tuple[_Found, tuple[_Scope, ...]]]:
    """Put the same excess of several scopes into one: that of the scope for which it is the most unusual."""
    groups: list[list[_Found]] = []
    for each in sorted(found, key=lambda one: -one.excess):
        group = next((group for group in groups if _is_same(group[0], each)), None)
        if group is None:
            groups.append([each])
        else:
            group.append(each)
    told: list[tuple[_Found, tuple[_Scope, ...]]] = []
    for group in groups:
        first, *rest = sorted(group, key=lambda one: (sum(usual.amount for usual in one.hours.values()), one.scope))
        told.append((first, tuple(one.scope for one in rest)))
    return told


def _is_same(larger: _Found, other: _Found) -> bool:
    return other.overlaps(larger) and other.excess >= _SAME * larger.excess


def _ask(number: int, found: _Found) -> dict[str, Any]:
    hours: list[int] = []
    weights: list[float] = []
    for usual in found.hours.values():
        typical = usual.typical[-_MOST_TYPICAL:]
        hours += typical
        weights += [1 / len(typical)] * len(typical)
    judged = list(found.hours)
    return {
        "number": number,
        "dimension": found.scope[0],
        "name": found.scope[1],
        "hours": hours + judged,
        "weights": weights + [1.0] * len(judged),
        "found": [False] * len(hours) + [True] * len(judged),
    }


def _anomaly(found: _Found, also: tuple[_Scope, ...], rows: Sequence[dict[str, Any]]) -> Anomaly:
    sums = {(row["dimension"], row["name"], row["is_found"]): _sums(row) for row in rows}
    names = dict.fromkeys((dimension, name) for dimension, name, _ in sums if dimension != "all")
    parts = [
        Part(
            dimension=dimension,
            name=name,
            found=sums.get((dimension, name, True), Sums()),
            usual=sums.get((dimension, name, False), Sums()),
        )
        for dimension, name in names
    ]
    hours = list(found.hours)
    return Anomaly(
        scope=found.scope[0],
        name=found.scope[1],
        also=also,
        since=EPOCH + min(hours) * _HOUR,
        until=EPOCH + (max(hours) + 1) * _HOUR,
        basis=found.hours[hours[0]].basis,
        limit_nanousd=NanoUSD(round(sum(usual.limit for usual in found.hours.values()))),
        found=sums.get(("all", "", True), Sums()),
        usual=sums.get(("all", "", False), Sums()),
        parts=largest_parts(parts),
    )


def _sums(row: Mapping[str, Any]) -> Sums:
    return msgspec.convert({name: row[name] or 0.0 for name in Sums.__struct_fields__}, Sums)
