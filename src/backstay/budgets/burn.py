"""Owns the reading of one window: how it was spent, who holds parts of it, what it paid most for."""

import datetime as dt
from collections.abc import Sequence

import msgspec

from backstay.budgets.manage import FROZEN_S
from backstay.budgets.views import BudgetView, moment
from backstay.core.money import NanoUSD
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.budgets")
_TIMEOUT_S = 20.0
BUCKETS = 48
"""Equal parts of a window in which its spending is added up."""
_SHORTEST = dt.timedelta(minutes=1)
_BEHIND = dt.timedelta(days=1)
"""A call's own time may be before its window, by a clock that is behind."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_CANDIDATES = 5
"""Postings that are looked at for each of a window's dearest calls."""


class Burn(msgspec.Struct, frozen=True, kw_only=True):
    """How one window of one subject was spent."""

    since: dt.datetime
    until: dt.datetime
    """When it ends; of a lifetime, now."""
    spent: tuple[NanoUSD, ...]
    """In each of ``BUCKETS`` equal parts."""

    @property
    def step(self) -> dt.timedelta:
        return (self.until - self.since) / BUCKETS


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker holds of a window."""

    holder: str
    """The worker, by the id of its journal."""
    amount: NanoUSD
    moved_at: dt.datetime | None
    """When any of it was last granted, given back or spent."""
    is_frozen: bool
    """Whether the worker was not heard of for long."""


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker had of a window until a moment."""

    holder: str
    granted: NanoUSD
    """Less what it gave back."""
    charged: NanoUSD
    """What calls that had begun until then cost of it."""
    charged_lately: NanoUSD
    """Those of them that had begun since another moment."""


class DearCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a window paid for one call."""

    call_id: str
    trace_id: str | None
    """``None``: its trace is not there, or not any more."""
    at: dt.datetime
    amount: NanoUSD


class Burns:
    """Reads windows of a tenant's budgets. Every method raises ``StoreUnavailable`` if Postgres does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def read(
        self, tenant_id: str, wanted: Sequence[tuple[BudgetView, str]], *, now: dt.datetime
    ) -> Sequence[Burn]:
        """Read how the current windows of some budgets were spent, each of one subject, in their order."""
        bounds = [_bounds(view, now) for view, _ in wanted]
        values = {
            "tenant_id": tenant_id,
            "ids": [view.id for view, _ in wanted],
            "subjects": [subject for _, subject in wanted],
            "starts_us": [starts_us(view) for view, _ in wanted],
            "until_us": [_us(until) for _, until in bounds],
            "buckets": BUCKETS,
        }
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["burn"], values)).fetchall()
        spent = [[0] * BUCKETS for _ in wanted]
        since = [begin for begin, _ in bounds]
        for row in rows:
            place = row["place"] - 1
            # A call that ended after its window counts for it, at its end.
            spent[place][min(row["bucket"], BUCKETS - 1)] += row["amount"]
            since[place] = moment(row["since_us"])
        return [
            Burn(since=since[place], until=until, spent=tuple(map(NanoUSD, spent[place])))
            for place, (_, until) in enumerate(bounds)
        ]

    async def leases(self, tenant_id: str, view: BudgetView, subject: str) -> Sequence[Lease]:
        """List who holds money of a budget's current window, the most first."""
        values = {
            "tenant_id": tenant_id,
            "budget_id": view.id,
            "subject": subject,
            "starts_us": starts_us(view),
        }
        # When a worker was heard of belongs to no tenant, so that only the system may read it.
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["leases"], values)).fetchall()
        return [
            Lease(
                holder=row["holder"],
                amount=NanoUSD(row["amount"]),
                moved_at=row["moved_at"],
                is_frozen=row["seen_us"] is None or row["now_us"] - row["seen_us"] > FROZEN_S * 1e6,
            )
            for row in rows
        ]

    async def holdings(
        self, tenant_id: str, budget_id: str, *, since: dt.datetime, until: dt.datetime
    ) -> Sequence[Holding]:
        """Read from the postings what each worker had of a budget for a lifetime until a moment."""
        values = {"tenant_id": tenant_id, "budget_id": budget_id, "since": since, "until": until}
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["holdings"], values)).fetchall()
        return [msgspec.convert(row, Holding) for row in rows]

    async def dearest(self, tenant_id: str, view: BudgetView, subject: str, *, limit: int) -> Sequence[DearCall]:
        """List the calls that a budget's current window paid most for."""
        values = {
            "tenant_id": tenant_id,
            "budget_id": view.id,
            "subject": subject,
            "starts_us": starts_us(view),
            "limit": limit,
            "candidates": _CANDIDATES * limit,
            "since": _EPOCH if view.starts_at is None else view.starts_at - _BEHIND,
        }
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            # Planned for this very window, so that days before it are left out.
            rows = await (await connection.execute(_QUERIES["dearest_of_some"], values, prepare=False)).fetchall()
            if rows and (len(rows) < limit or rows[-1]["amount"] < rows[0]["bound"]) and rows[0]["bound"]:
                rows = await (await connection.execute(_QUERIES["dearest"], values, prepare=False)).fetchall()
        return [msgspec.convert(row, DearCall) for row in rows]


def starts_us(view: BudgetView) -> int:
    """When a budget's current window starts; 0: it is its lifetime."""
    return 0 if view.starts_at is None else _us(view.starts_at)


def _bounds(view: BudgetView, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    if view.starts_at is None or view.resets_at is None:
        return now - _SHORTEST, now
    return view.starts_at, view.resets_at


def _us(at: dt.datetime) -> int:
    return round(at.timestamp() * 1_000_000)
