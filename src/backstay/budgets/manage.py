"""Owns the life of a tenant's budgets: create, list, change, delete; and the proof that their books balance."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backstay.budgets.config import MOST_USD
from backstay.budgets.scopes import parse_scope
from backstay.budgets.types import Dimension, OnLow, OnUnknownPrice, Span
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest, NotFound
from backstay.core.ids import new_id
from backstay.core.money import NANO_PER_USD, NanoUSD, from_usd, usd
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.budgets")
_TIMEOUT_S = 20.0
_AS_WRITTEN = ("name", "per", "time_zone", "hard", "on_unknown_price", "min_output_tokens", "rollover")
_MOST_SUBJECTS = 100
"""Of a budget that each user, key, … has for itself: those who spent most are shown."""

Record = Callable[[Connection, str, str, dict[str, Any]], Awaitable[None]]
"""Writes an act and its subject into the audit log, in the act's own transaction."""

Amount = str | int | float
"""US dollars. A number is taken as it is written."""


class NewBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be spent, by whom, in which time."""

    limit_usd: Amount
    scope: str | list[str] = []
    """``feature:chat``, ``user:u1``, ``key:ID``, ``model:fast``, ``tag:x``; several must all fit. ``tenant:T`` or
    nothing: all calls of the tenant."""
    per: Dimension | None = None
    """Each value of this has the amount for itself."""
    window: Span = "month"
    name: Annotated[str, Meta(max_length=200)] = ""
    time_zone: Annotated[str, Meta(max_length=64)] = "UTC"
    hard: bool = True
    on_low_budget: OnLow = "clamp"
    on_unknown_price: OnUnknownPrice = "refuse"
    min_output_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 64
    wait_s: Annotated[float, Meta(ge=0, le=600)] = 5.0
    rollover: bool = False


class BudgetChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different from now on; what is left out stays."""

    limit_usd: Amount | None = None
    hard: bool | None = None
    stopped: bool | None = None
    on_low_budget: OnLow | None = None
    on_unknown_price: OnUnknownPrice | None = None


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a window is used, by one of those who have the amount for themselves."""

    subject: str
    limit_usd: str
    spent_usd: str
    reserved_usd: str
    """What workers hold, for calls that run and soon will."""
    left_usd: str
    resets_at: dt.datetime | None


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and its current window; of one that each user, … has for itself, the sums over all of them."""

    id: str
    name: str
    scope: str
    per: Dimension | None
    window: Span
    time_zone: str
    limit_usd: str
    spent_usd: str
    reserved_usd: str
    left_usd: str | None
    """``None`` where each has it for itself."""
    hard: bool
    on_low_budget: OnLow
    stopped: bool
    resets_at: dt.datetime | None
    subjects: list[BudgetUse]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds money of budgets: a worker, by the id of its journal."""

    id: str
    reserved_usd: str
    seen_s: float | None
    """How long ago it was heard of; ``None``: never."""
    is_frozen: bool
    """Whether it was not heard of for long: what it holds stays held until its journal is shipped or written off."""


class BudgetBooks(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the double entry balances: every account by its postings, beside what is kept of it."""

    windows: int
    postings: int
    differing: int
    over: int
    """Windows in which more was spent than their limit: soft ones, lowered ones, or a bound that was wrong."""


class Budgets:
    """Makes, changes and ends the budgets of a tenant; every worker follows within a second."""

    def __init__(self, database: Database):
        self._database = database

    async def create(self, by: Caller, new: NewBudget, record: Record) -> BudgetView:
        """Make a budget.

        Raises:
            InvalidRequest: A field is not as it must be; ``param`` names it.
            StoreUnavailable: Postgres does not answer. Nothing is made.
        """
        budget_id, scope = new_id("bud"), _scope(new.scope, by)
        if new.rollover and new.window == "lifetime":
            raise InvalidRequest("A lifetime has no next window to roll over into.", param="rollover")
        values = {
            **{name: getattr(new, name) for name in _AS_WRITTEN},
            "tenant_id": by.tenant_id,
            "budget_id": budget_id,
            "scope": scope,
            "limit_nanousd": _amount(new.limit_usd),
            "span": new.window,
            "on_low": new.on_low_budget,
            "wait_ms": round(new.wait_s * 1000),
            "created_by": by.id,
        }
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(_QUERIES["is_time_zone"], {"name": new.time_zone})
            row = await cursor.fetchone()
            if row is None or not row["known"]:
                raise InvalidRequest("time_zone must be a name such as Europe/Berlin.", param="time_zone")
            await connection.execute(_QUERIES["create"], values)
            await record(connection, "budget.create", budget_id, {"scope": scope, "limit_usd": str(new.limit_usd)})
        return await self.show(by, budget_id)

    async def change(self, by: Caller, budget_id: str, change: BudgetChange, record: Record) -> BudgetView:
        """Change a budget for calls from now on. Raises ``NotFound`` if there is none."""
        await self._change(by, budget_id, change, record, is_deleted=False)
        return await self.show(by, budget_id)

    async def delete(self, by: Caller, budget_id: str, record: Record) -> None:
        """End a budget: it counts no call from now on. What it counted stays. Raises ``NotFound`` if there is none."""
        await self._change(by, budget_id, BudgetChange(), record, is_deleted=True)

    async def list(self, by: Caller) -> Sequence[BudgetView]:
        """List the tenant's budgets, the newest first, and after them those of the policy that were used."""
        async with self._database.tenant(by.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            values = {"tenant_id": by.tenant_id, "budget_id": None, "subjects": _MOST_SUBJECTS}
            own = await (await connection.execute(_QUERIES["list"], values)).fetchall()
            policy = await (await connection.execute(_QUERIES["policy_windows"], values)).fetchall()
        return [*_views(own, by), *_policy_views(policy, by)]

    async def show(self, by: Caller, budget_id: str) -> BudgetView:
        """Show one budget. Raises ``NotFound`` if there is none."""
        async with self._database.tenant(by.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            values = {"tenant_id": by.tenant_id, "budget_id": budget_id, "subjects": _MOST_SUBJECTS}
            rows = await (await connection.execute(_QUERIES["list"], values)).fetchall()
        if not rows:
            raise NotFound(f"There is no budget {budget_id}.")
        return _views(rows, by)[0]

    async def holders(self) -> Sequence[Holder]:
        """List who holds money, of all tenants."""
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["holders"])).fetchall()
        return [_holder(row) for row in rows]

    async def audit(self, by: Caller) -> BudgetBooks:
        """Compare every account with its postings. It reads all of them."""
        async with self._database.tenant(by.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            row = await (await connection.execute(_QUERIES["audit"], {"tenant_id": by.tenant_id})).fetchone()
        return msgspec.convert(row, BudgetBooks)

    async def _change(
        self, by: Caller, budget_id: str, change: BudgetChange, record: Record, *, is_deleted: bool
    ) -> None:
        values = {
            "tenant_id": by.tenant_id,
            "budget_id": budget_id,
            "limit_nanousd": None if change.limit_usd is None else _amount(change.limit_usd),
            "hard": change.hard,
            "stopped": change.stopped,
            "on_low": change.on_low_budget,
            "on_unknown_price": change.on_unknown_price,
            "is_deleted": is_deleted,
        }
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(_QUERIES["change"], values)
            if not cursor.rowcount:
                raise NotFound(f"There is no budget {budget_id}.")
            said = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
            await record(connection, "budget.delete" if is_deleted else "budget.change", budget_id, said)


def _amount(written: Amount) -> NanoUSD:
    """Read an amount exactly. Raises ``InvalidRequest``."""
    try:
        value = Decimal(str(written))
        amount = from_usd(value)
    except (ValueError, ArithmeticError):
        raise InvalidRequest("limit_usd must be an amount in US dollars, as in 0.05.", param="limit_usd") from None
    if not 0 <= value <= MOST_USD:
        raise InvalidRequest(f"limit_usd must be from 0 to {MOST_USD:,}.", param="limit_usd")
    if value * NANO_PER_USD != amount:
        raise InvalidRequest("limit_usd has more than nine decimal places.", param="limit_usd")
    return amount


def _scope(written: str | list[str], by: Caller) -> list[str]:
    """Read a scope, sorted. Raises ``InvalidRequest``."""
    parts = [written] if isinstance(written, str) else written
    found: set[tuple[str, str]] = set()
    for part in parts:
        if part.startswith("tenant:"):
            if part != f"tenant:{by.tenant_id}":
                raise InvalidRequest(f"scope: this is not the tenant {part[7:]!r} but {by.tenant_id!r}.", param="scope")
            continue
        try:
            found.add(parse_scope(part))
        except ValueError as error:
            raise InvalidRequest(f"scope: {error}, or tenant:{by.tenant_id}.", param="scope") from None
    if len({dimension for dimension, _ in found}) < len(found):
        raise InvalidRequest("scope names one dimension twice. Make a budget for each.", param="scope")
    return [f"{dimension}:{value}" for dimension, value in sorted(found)]


def _views(rows: Sequence[dict[str, Any]], by: Caller) -> list[BudgetView]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["budget_id"], []).append(row)
    return [_view(group, by) for group in grouped.values()]


def _view(rows: list[dict[str, Any]], by: Caller) -> BudgetView:
    first = rows[0]
    uses = [_use(row) for row in rows if row["subject"] is not None]
    windows = [row for row in rows if row["subject"] is not None]
    spent, held = sum(row["spent"] for row in windows), sum(row["granted"] for row in windows)
    total = first["limit_nanousd"] + (windows[0]["carried"] if windows and first["per"] is None else 0)
    return BudgetView(
        id=first["budget_id"],
        name=first["name"],
        scope=",".join(first["scope"]) or f"tenant:{by.tenant_id}",
        per=first["per"],
        window=first["span"],
        time_zone=first["time_zone"],
        limit_usd=usd(NanoUSD(total)),
        spent_usd=usd(NanoUSD(spent)),
        reserved_usd=usd(NanoUSD(held)),
        left_usd=usd(NanoUSD(max(0, total - spent - held))) if first["per"] is None else None,
        hard=first["hard"],
        on_low_budget=first["on_low"],
        stopped=first["stopped"],
        resets_at=uses[0].resets_at if uses else None,
        subjects=uses if first["per"] is not None else [],
    )


def _policy_views(rows: Sequence[dict[str, Any]], by: Caller) -> list[BudgetView]:
    """Show what is known of the policy's budgets here: their windows. What they are is in the policy."""
    views: list[BudgetView] = []
    for row in rows:
        use = _use(row)
        views.append(
            BudgetView(
                id=row["budget_id"],
                name=row["budget_id"].partition(":")[2],
                scope=row["subject"] or f"tenant:{by.tenant_id}",
                per=None,
                window=_span_of(row),
                time_zone="",
                limit_usd=use.limit_usd,
                spent_usd=use.spent_usd,
                reserved_usd=use.reserved_usd,
                left_usd=use.left_usd,
                hard=True,
                on_low_budget="clamp",
                stopped=False,
                resets_at=use.resets_at,
                subjects=[],
            )
        )
    return views


def _span_of(row: dict[str, Any]) -> Span:
    length_s = (row["ends_us"] - row["starts_us"]) / 1e6
    spans: tuple[tuple[float, Span], ...] = ((61, "minute"), (3601, "hour"), (90_001, "day"), (608_401, "week"))
    for most_s, span in spans:
        if length_s < most_s:
            return span
    return "month" if row["starts_us"] else "lifetime"


def _use(row: dict[str, Any]) -> BudgetUse:
    limit, spent, held = row["limit_nanousd"] + row["carried"], row["spent"], row["granted"]
    ends = None if row["starts_us"] == 0 else dt.datetime.fromtimestamp(row["ends_us"] / 1e6, dt.UTC)
    return BudgetUse(
        subject=row["subject"],
        limit_usd=usd(NanoUSD(limit)),
        spent_usd=usd(NanoUSD(spent)),
        reserved_usd=usd(NanoUSD(held)),
        left_usd=usd(NanoUSD(max(0, limit - spent - held))),
        resets_at=ends,
    )


_FROZEN_S = 60.0


def _holder(row: dict[str, Any]) -> Holder:
    seen_s = None if row["seen_us"] is None else max(0.0, (row["now_us"] - row["seen_us"]) / 1e6)
    return Holder(
        id=row["holder"],
        reserved_usd=usd(NanoUSD(int(row["amount"]))),
        seen_s=seen_s,
        is_frozen=seen_s is None or seen_s > _FROZEN_S,
    )
