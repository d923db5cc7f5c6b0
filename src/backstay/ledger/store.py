"""Owns the ledger's SQL: entries in, cost reports out."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, LiteralString

import msgspec

from backstay.core.clock import Clock, SystemClock
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD
from backstay.ledger.types import LedgerEntry
from backstay.ledger.views import DIMENSIONS, CostRow, Dimension, SpendPoint, Waste
from backstay.store import Database, load_queries
from backstay.store.grains import GRAINS, SEALED, Cover, cover, cover_sealed, rows_only


def _load() -> dict[str, LiteralString]:
    """Read the queries, with the parts that they share put in."""
    queries = load_queries("backstay.ledger")
    queries["costs_by_user"] = queries["costs"].replace("{parts}", queries["user_parts"])
    queries["rank_users"] = queries["rank_users"].replace("{user_parts}", queries["user_parts"])
    queries["spend_by_user"] = queries["spend"].replace("{parts}", queries["user_parts"])
    queries["costs_of_users"] = queries["costs"].replace("{parts}", queries["some_users_parts"])
    queries["spend_of_users"] = queries["spend"].replace("{parts}", queries["some_users_parts"])
    # Of sealed stretches only what no user is named for: the others are looked up.
    live = queries["user_parts"].replace("where whole.is_sealed and", "where whole.is_sealed and name is null and")
    queries["dearest_users"] = queries["dearest_users"].replace("{live_parts}", live)
    none = queries["user_parts"].replace("where whole.is_sealed and", "where false and")
    queries["dearest_days"] = queries["dearest_days"].replace("{open_parts}", none)
    parts: tuple[LiteralString, ...] = ("parts", "all_sums", "user_sums", "earlier_attempts")
    for part in parts:
        for name, text in queries.items():
            queries[name] = text.replace("{" + part + "}", queries[part])
    return queries


_QUERIES = _load()

MERGE_ENTRIES = _QUERIES["merge_entries"]
"""What the shipper runs on a batch to write its ledger entries. Run again on the same batch, it changes nothing."""

MOST_ROWS = 1000
"""Rows of a cost report."""

_STRETCHES: dict[str, tuple[Sequence[timedelta], Sequence[timedelta]]] = {
    "user": (SEALED[:2], GRAINS),
    "user_alone": (SEALED[:3], GRAINS),
    "tag_user": (SEALED, ()),
}
"""Of each kind of sums that is sealed, the lengths of its stretches, and those of the sums that triggers keep of it."""

_OPEN = load_queries("backstay.ledger", "sealing.sql")["open"]

_SPARE = 1.25
"""Users that a short report by user and more looks at, for each of its rows."""

_FEW = 300
"""Rows of the longest report for which it is less to look users up than to read them all."""

_AT_ONCE = 2
"""Statements that a long report by user and more is read by, at once."""

_LOOKED_AT = 2
"""Users of each stretch that a report of the dearest users looks at, for each of its rows."""

_TIMEOUT_S = 20.0
"""Reports may add up months."""


class LedgerStore:
    """Reports on what one tenant's calls cost. Times are aware; ``since`` is included, ``until`` is not."""

    def __init__(self, database: Database, *, clock: Clock | None = None):
        self._database = database
        self._clock = clock or SystemClock()

    async def costs(
        self,
        tenant_id: str,
        *,
        by: Sequence[Dimension] = (),
        since: datetime,
        until: datetime,
        key_id: str | None = None,
        users: Sequence[str | None] | None = None,
        limit: int = MOST_ROWS,
    ) -> list[CostRow]:
        """Add up costs by dimensions, the most expensive group first; by nothing: one row, the total.

        Args:
            key_id: Only the calls of this key.
            users: By user and more, though not by tag: those of these users; ``None`` among them: of none.
            limit: Most rows to return.

        Raises:
            InvalidRequest: A dimension is not known.
            StoreUnavailable: Postgres does not answer.
        """
        for dimension in by:
            if dimension not in DIMENSIONS:
                raise InvalidRequest(
                    f"Costs have no dimension {dimension!r}. Use: {', '.join(DIMENSIONS)}.", param="by"
                )
        is_short = limit <= MOST_ROWS and users is None and key_id is None
        if is_short and tuple(by) == ("user",):
            return await self._dearest_users(tenant_id, since, until, limit=limit)
        if is_short and len(by) == 2 and set(by) == {"user", "day"}:
            return await self._dearest_days(tenant_id, since, until, limit=limit)
        if is_short and "user" in by and "tag" not in by and len(by) > 1:
            ranked = await self._rank(tenant_id, since, until, limit=_looked_at(limit))
            return await self._costs_of_dearest(tenant_id, by, since, until, ranked, limit=limit)
        found = await self._costs(tenant_id, by, since, until, users, key_id=key_id, limit=limit)
        return found if found or by else [_NOTHING]

    async def costs_by_user(
        self, tenant_id: str, *, by: Sequence[Dimension], since: datetime, until: datetime, limit: int
    ) -> tuple[list[CostRow], list[CostRow]]:
        """Add up by user and more, though not by tag: give the dearest groups, and of users alone the dearest, more.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        users = await self._dearest_users(tenant_id, since, until, limit=_looked_at(limit))
        ranked = [(row.user, row.cost_nanousd) for row in users]
        return await self._costs_of_dearest(tenant_id, by, since, until, ranked, limit=limit), users

    async def entries(self, tenant_id: str, trace_id: str, *, key_id: str | None = None) -> list[LedgerEntry]:
        """Read what each attempt of a trace's calls cost, with its lines, the earliest first.

        Args:
            key_id: Only the calls of this key.

        Raises:
            StoreUnavailable: Postgres does not answer.
        """
        rows = await self._fetch(_QUERIES["entries"], tenant_id, trace_id=trace_id, key_id=key_id)
        return msgspec.convert(rows, list[LedgerEntry])

    async def spend(
        self,
        tenant_id: str,
        *,
        since: datetime,
        until: datetime,
        step: timedelta,
        by: Dimension = "model",
        key_id: str | None = None,
        users: Sequence[str | None] | None = None,
    ) -> list[SpendPoint]:
        """Add up costs over time: one point for each stretch and series.

        Args:
            users: By user, the series of these alone; ``None`` among them: what no user is named for.
            step: The length of a stretch. Stretches begin at its multiples since the epoch, the first perhaps before
                ``since``, from where on it counts.

        Raises:
            InvalidRequest: It cannot be plotted by this dimension, or the stretches have no length.
            StoreUnavailable: Postgres does not answer.
        """
        if by not in DIMENSIONS or by in ("day", "hour"):
            raise InvalidRequest(f"Spend cannot be split by {by!r}. Use user, feature, model, target, key or tag.")
        if step <= timedelta():
            raise InvalidRequest("A stretch of time must be longer than 0 seconds.")
        rows = await self._add_up("spend", tenant_id, [by], since, until, users, step=step, name=by, key_id=key_id)
        return msgspec.convert(rows, list[SpendPoint], strict=False)

    async def unused(
        self, tenant_id: str, *, since: datetime, until: datetime, key_id: str | None = None
    ) -> list[Waste]:
        """Add up the attempts whose answer nobody has, by why, the dearest first.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        rows = await self._fetch(_QUERIES["unused"], tenant_id, since=since, until=until, key_id=key_id)
        return msgspec.convert(rows, list[Waste])

    async def _costs_of_dearest(
        self,
        tenant_id: str,
        by: Sequence[Dimension],
        since: datetime,
        until: datetime,
        ranked: Sequence[tuple[str | None, int]],
        *,
        limit: int,
    ) -> list[CostRow]:
        """Add up by user and more, of the dearest users alone where that is enough.

        All users are not read for it. No group costs more than its user does in all, so that the dearest groups are
        among those of the dearest users, a quarter more than groups are wanted, if the last of these costs more than
        the dearest of the other users; else all are read.

        Args:
            ranked: The dearest users, ``_looked_at(limit)`` of them, and what they cost.
        """
        *dearest, next_one = ranked if len(ranked) == _looked_at(limit) else (*ranked, None)
        users = [name for name, _ in dearest]
        # Each processor of Postgres's machine reads a part of many users.
        size = max(_FEW, -(-len(users) // _AT_ONCE))
        parts = [users[start : start + size] for start in range(0, len(users), size)]
        read = [self._costs(tenant_id, by, since, until, part, limit=limit) for part in parts]
        found = sorted(chain.from_iterable(await asyncio.gather(*read)), key=partial(_place, by=by))[:limit]
        if next_one is None or (len(found) == limit and found[-1].cost_nanousd > next_one[1]):
            return found
        return await self._costs(tenant_id, by, since, until, limit=limit)

    async def _rank(
        self, tenant_id: str, since: datetime, until: datetime, *, limit: int
    ) -> list[tuple[str | None, int]]:
        """Give the dearest users and what they cost, and nothing else."""
        covered = await self._cover(tenant_id, "user_alone", since, until, None)
        rows = await self._fetch(
            covered.query(_QUERIES["rank_users"], _QUERIES["edge"]),
            tenant_id,
            by_target=False,
            by_tag=False,
            key_id=None,
            users=None,
            limit=limit,
            **covered.params(),
        )
        return [(row["user"], row["cost_nanousd"]) for row in rows]

    async def _dearest_users(self, tenant_id: str, since: datetime, until: datetime, *, limit: int) -> list[CostRow]:
        """Add up by user alone, as far as can be without reading all users."""
        covered = await self._cover(tenant_id, "user_alone", since, until, None)
        found = None
        if limit <= _FEW and any(piece.is_sealed for piece in covered.pieces):
            found = await self._dearest("dearest_users", tenant_id, covered, limit)
        return found if found is not None else await self._costs(tenant_id, ("user",), since, until, limit=limit)

    async def _dearest_days(self, tenant_id: str, since: datetime, until: datetime, *, limit: int) -> list[CostRow]:
        """Add up by user and day, as far as can be without reading all users."""
        covered = await self._cover(tenant_id, "user_alone", since, until, timedelta(days=1), is_within=True)
        found = await self._dearest("dearest_days", tenant_id, covered, limit)
        by: tuple[Dimension, ...] = ("user", "day")
        return found if found is not None else await self._costs(tenant_id, by, since, until, limit=limit)

    async def _dearest(self, query: str, tenant_id: str, covered: Cover, limit: int) -> list[CostRow] | None:
        """Read the dearest rows; ``None`` if one that was not looked at may belong among them."""
        rows = await self._fetch(
            covered.query(_QUERIES[query], _QUERIES["edge"]),
            tenant_id,
            by_target=False,
            by_tag=False,
            key_id=None,
            users=None,
            most=_LOOKED_AT * limit,
            limit=limit,
            **covered.params(),
        )
        left_out = rows[0]["left_out"] if rows else None
        if left_out is not None and (len(rows) < limit or rows[-1]["cost_nanousd"] <= left_out):
            return None
        return msgspec.convert(rows, list[CostRow], strict=False)

    async def _costs(
        self,
        tenant_id: str,
        by: Sequence[Dimension],
        since: datetime,
        until: datetime,
        users: Sequence[str | None] | None = None,
        *,
        key_id: str | None = None,
        limit: int,
    ) -> list[CostRow]:
        rows = await self._add_up(
            "costs", tenant_id, by, since, until, users, step=_step(by), by=list(by), key_id=key_id, limit=limit
        )
        return msgspec.convert(rows, list[CostRow], strict=False)

    async def _add_up(
        self,
        query: str,
        tenant_id: str,
        dimensions: Sequence[Dimension],
        since: datetime,
        until: datetime,
        users: Sequence[str | None] | None = None,
        *,
        step: timedelta | None,
        **params: Any,
    ) -> list[dict[str, Any]]:
        """Run a query over the sums that know its dimensions and as little else as there can be."""
        kind = _kind(dimensions, params["key_id"])
        covered = await self._cover(tenant_id, kind if users is None else "user", since, until, step)
        if users is not None:
            query = f"{query}_of_users"
        elif kind == "user_alone":
            query = f"{query}_by_user"
        return await self._fetch(
            covered.query(_QUERIES[query], _QUERIES["edge"]),
            tenant_id,
            kind=kind,
            by_target="target" in dimensions,
            by_tag="tag" in dimensions,
            users=None if users is None else list(users),
            step=step,
            **covered.params(),
            **params,
        )

    async def _cover(
        self,
        tenant_id: str,
        kind: str,
        since: datetime,
        until: datetime,
        step: timedelta | None,
        *,
        is_within: bool = False,
    ) -> Cover:
        """Choose which sums of a kind a span of time is read from; of kind ``entries``: none.

        Args:
            is_within: No piece goes beyond the span, so that nothing is taken away again.
        """
        now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        if kind in ("all", "tag"):
            return cover(since, until, step=step, now=now)
        if kind == "entries":
            return rows_only(since, until)
        rows = await self._fetch(_OPEN, tenant_id)
        left: set[tuple[timedelta, datetime]] = {(timedelta(seconds=row["grain_s"]), row["at"]) for row in rows}

        def is_open(grain: timedelta, at: datetime) -> bool:
            return (grain, at) in left

        sealed, grains = _STRETCHES[kind]
        covered = cover_sealed(
            since,
            until,
            sealed,
            grains=grains,
            is_open=is_open,
            step=step,
            now=None if is_within else now,
        )
        return covered if covered.is_readable else rows_only(since, until)

    async def _fetch(self, query: LiteralString, tenant_id: str, **params: Any) -> list[dict[str, Any]]:
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            await connection.execute(_QUERIES["report_memory"])
            # Unprepared: planned for these very values, so that unused filters cost nothing.
            cursor = await connection.execute(query, {"tenant_id": tenant_id, **params}, prepare=False)
            return await cursor.fetchall()


def _kind(dimensions: Sequence[Dimension], key_id: str | None) -> str:
    """Tell which sums know all of some dimensions, and as little else as there can be."""
    asked: set[str] = {name for name in dimensions if name not in ("day", "hour")}
    if key_id is not None:
        asked.add("key")
    if {"user", "tag"} <= asked:
        return "tag_user" if len(asked) == 2 else "entries"
    if "user" in asked:
        return "user_alone" if len(asked) == 1 else "user"
    return "tag" if "tag" in asked else "all"


_NOTHING = CostRow(calls=0, input_tokens=0, output_tokens=0, cost_nanousd=NanoUSD(0), unknown_cost_calls=0)


def _place(row: CostRow, by: Sequence[Dimension]) -> tuple[Any, ...]:
    """Order rows as the queries do: names by their bytes, none after all."""
    names = [getattr(row, dimension) for dimension in DIMENSIONS if dimension in by]
    return (-row.cost_nanousd, -row.calls, *((name is None, name) for name in names))


def _looked_at(limit: int) -> int:
    """Tell how many users a short report by user and more needs to know: those it looks at, and the next one."""
    return int(limit * _SPARE) + 1


def _step(by: Sequence[Dimension]) -> timedelta | None:
    """Give the stretches of time that a report tells apart."""
    if "hour" in by:
        return timedelta(hours=1)
    return timedelta(days=1) if "day" in by else None
