"""Owns the proof of the ledger: its entries against the traces, and all sums that are kept against the entries.

A day is read at a time, in a statement of its own: no lock is held for long, and memory does not grow with the ledger.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString

import msgspec

from backstay.ledger.views import Books
from backstay.store import Database, load_queries
from backstay.store.grains import SEALED, floor

_PARTS: tuple[LiteralString, ...] = ("different", "sealed", "all_sums", "user_sums_whole", "alone_sums", "sums")


def _load() -> dict[str, LiteralString]:
    queries = load_queries("backstay.ledger", "proof.sql")
    for part in _PARTS:
        for name, text in queries.items():
            queries[name] = text.replace("{" + part + "}", queries[part])
    return queries


_QUERIES = _load()
_TIMEOUT_S = 300.0
"""For a day, or four weeks of days."""
_DAY = timedelta(days=1)
_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class Proof:
    """Compares one tenant's ledger with its traces and its sums. Days are UTC."""

    def __init__(self, database: Database):
        self._database = database

    async def days(self, tenant_id: str) -> list[date]:
        """List all days from the first to the last of which there is anything; begin where four weeks do.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        row = await self._fetch("days", tenant_id)
        if row["first"] is None:
            return []
        first, last = floor(row["first"], SEALED[0]), floor(row["last"], _DAY)
        return [(first + number * _DAY).date() for number in range((last - first) // _DAY + 1)]

    async def check(self, tenant_id: str, *, since: datetime = _BEGINNING, until: datetime = _END) -> Books:
        """Compare the ledger with the traces, call by call. Raises ``StoreUnavailable`` if Postgres does not answer."""
        return msgspec.convert(await self._fetch("check", tenant_id, since=since, until=until), Books, strict=False)

    async def check_day(self, tenant_id: str, day: date) -> Books:
        """Do so for the calls of a day. Raises ``StoreUnavailable`` if Postgres does not answer."""
        since = _midnight(day)
        return await self.check(tenant_id, since=since, until=since + _DAY)

    async def compare(self, tenant_id: str, day: date) -> int:
        """Count the sums of a day that are not what its entries add up to; and those of weeks that begin with it.

        0 unless something is broken. Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        since = _midnight(day)
        row = await self._fetch("compare_day", tenant_id, since=since, until=since + _DAY)
        differing = row["differing"]
        for grain in SEALED[:2]:
            if floor(since, grain) == since:
                bounds = {"since": since, "until": since + grain, "grain_s": int(grain.total_seconds())}
                differing += (await self._fetch("compare_long", tenant_id, **bounds))["differing"]
        return differing

    async def compare_all(self, tenant_id: str) -> int:
        """Do so for all days. Raises ``StoreUnavailable`` if Postgres does not answer."""
        return sum([await self.compare(tenant_id, day) for day in await self.days(tenant_id)])

    async def _fetch(self, query: str, tenant_id: str, **params: Any) -> dict[str, Any]:
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            await connection.execute(_QUERIES["memory"])
            # Unprepared: planned for these very days, so that the planner leaves out all partitions but theirs.
            cursor = await connection.execute(_QUERIES[query], {"tenant_id": tenant_id, **params}, prepare=False)
            (row,) = await cursor.fetchall()
            return row


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
