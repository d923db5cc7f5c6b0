"""Owns the life of a tenant's budgets: create, list, change, delete; and the proof that their books balance."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backstay.budgets.config import convert_limit
from backstay.budgets.scopes import parse_scope
from backstay.budgets.store import read_terms
from backstay.budgets.types import Dimension, OnLow, OnUnknownPrice, Span, Terms
from backstay.budgets.views import MOST_SUBJECTS, BudgetView, view_of
from backstay.core.caller import Caller
from backstay.core.currencies import Currencies, read_amount
from backstay.core.errors import Conflict, InvalidRequest, NotFound
from backstay.core.ids import new_id
from backstay.core.money import NanoUSD, usd
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.budgets")
_TIMEOUT_S = 20.0
_AUDIT_S = 600.0
_AS_WRITTEN = ("name", "per", "time_zone", "hard", "on_unknown_price", "min_output_tokens", "rollover")
FROZEN_S = 60.0
"""A holder not heard of for so long is taken for lost."""

Record = Callable[[Connection, str, str, dict[str, Any]], Awaitable[None]]
"""Writes an act and its subject into the audit log, in the act's own transaction."""

Amount = str | int | float
"""US dollars. A number is taken as it is written."""


class NewBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be spent, by whom, in which time."""

    limit_usd: Amount | None = None
    limit: Amount | None = None
    """Instead of ``limit_usd``: with its currency, as in ``50 EUR``. It is converted once, by the rate of this day."""
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
    limit: Amount | None = None
    """Instead of ``limit_usd``: with its currency, as in ``50 EUR``."""
    hard: bool | None = None
    stopped: bool | None = None
    on_low_budget: OnLow | None = None
    on_unknown_price: OnUnknownPrice | None = None


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
    differing_burns: int
    """Sums over time, of which plots are drawn, that are not what their postings add up to."""
    over: int
    """Windows in which more was spent than their limit: soft ones, lowered ones, or a bound that was wrong."""


class Budgets:
    """Makes, changes and ends the budgets of a tenant; every worker follows within a second."""

    def __init__(
        self,
        database: Database,
        policy: Callable[[], Sequence[Terms]] = tuple,
        currencies: Callable[[], Currencies] = Currencies,
    ):
        """Look after budgets.

        Args:
            database: Where they are.
            policy: Gives the budgets of ``backstay.toml`` that are in force; they are each tenant's.
            currencies: Gives those that limits may be written in.
        """
        self._database = database
        self._policy = policy
        self._currencies = currencies

    async def create(self, by: Caller, new: NewBudget, record: Record) -> BudgetView:
        """Make a budget.

        Raises:
            InvalidRequest: A field is not as it must be; ``param`` names it.
            StoreUnavailable: Postgres does not answer. Nothing is made.
        """
        budget_id, scope = new_id("bud"), _scope(new.scope, by)
        if new.rollover and new.window == "lifetime":
            raise InvalidRequest("A lifetime has no next window to roll over into.", param="rollover")
        agreed = self._limit(new)
        if agreed is None:
            raise InvalidRequest("A budget needs limit_usd, as in 50, or limit, as in 50 EUR.", param="limit_usd")
        values = {
            **{name: getattr(new, name) for name in _AS_WRITTEN},
            "tenant_id": by.tenant_id,
            "budget_id": budget_id,
            "scope": scope,
            "limit_nanousd": agreed[0],
            "limit_given": agreed[1],
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
            said = {"limit_usd": str(new.limit_usd)} if agreed[1] is None else {"limit": agreed[1]}
            await record(connection, "budget.create", budget_id, {"scope": scope, **said})
        return await self.show(by, budget_id)

    async def change(self, by: Caller, budget_id: str, change: BudgetChange, record: Record) -> BudgetView:
        """Change a budget for calls from now on. Raises ``NotFound`` if there is none."""
        await self._change(by, budget_id, change, record, is_deleted=False)
        return await self.show(by, budget_id)

    async def delete(self, by: Caller, budget_id: str, record: Record) -> None:
        """End a budget: it counts no call from now on. What it counted stays. Raises ``NotFound`` if there is none."""
        await self._change(by, budget_id, BudgetChange(), record, is_deleted=True)

    async def list(self, by: Caller) -> Sequence[BudgetView]:
        """List the tenant's budgets, the newest first, and after them those of the policy, used or not."""
        async with self._database.tenant(by.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            own = await _read_own(connection, by.tenant_id, None)
            return await _read_views(connection, by.tenant_id, [*own, *self._policy()])

    async def show(self, by: Caller, budget_id: str) -> BudgetView:
        """Show one budget, of the tenant's own or of the policy. Raises ``NotFound`` if there is none."""
        async with self._database.tenant(by.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            terms = [each for each in self._policy() if each.id == budget_id]
            terms = terms or await _read_own(connection, by.tenant_id, budget_id)
            if not terms:
                raise NotFound(f"There is no budget {budget_id}.")
            (view,) = await _read_views(connection, by.tenant_id, terms)
        return view

    async def holders(self) -> Sequence[Holder]:
        """List who holds money, of all tenants."""
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["holders"])).fetchall()
        return [_holder(row) for row in rows]

    async def audit(self, by: Caller) -> BudgetBooks:
        """Compare every account with its postings. It reads all of them, a few million in a minute."""
        async with self._database.tenant(by.tenant_id, timeout_s=_AUDIT_S) as connection:
            row = await (await connection.execute(_QUERIES["audit"], {"tenant_id": by.tenant_id})).fetchone()
        return msgspec.convert(row, BudgetBooks)

    async def _change(
        self, by: Caller, budget_id: str, change: BudgetChange, record: Record, *, is_deleted: bool
    ) -> None:
        if budget_id.startswith("policy:"):
            raise Conflict(f"{budget_id} stands in backstay.toml, in every tenant. Change it there.")
        limit, given = self._limit(change) or (None, None)
        values = {
            "tenant_id": by.tenant_id,
            "budget_id": budget_id,
            "limit_nanousd": limit,
            "limit_given": given,
            "hard": change.hard,
            "stopped": change.stopped,
            "on_low": change.on_low_budget,
            "on_unknown_price": change.on_unknown_price,
            "is_deleted": is_deleted,
        }
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            before = await (await connection.execute(_QUERIES["change"], values)).fetchone()
            if before is None:
                raise NotFound(f"There is no budget {budget_id}.")
            said = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
            if given is not None:
                said["limit"] = given
            if limit is not None:
                said["was_limit_usd"] = usd(NanoUSD(before["was_nanousd"]))
            act = _act(said, is_deleted=is_deleted)
            await record(connection, act, budget_id, said if act == "budget.change" else {})

    def _limit(self, asked: NewBudget | BudgetChange) -> tuple[NanoUSD, str | None] | None:
        """Read a limit exactly, and say how it was given; ``None``: there is none. Raises ``InvalidRequest``."""
        if asked.limit is not None and asked.limit_usd is not None:
            raise InvalidRequest("Give one of limit_usd and limit, not both.", param="limit")
        name, written = ("limit", asked.limit) if asked.limit is not None else ("limit_usd", asked.limit_usd)
        if written is None:
            return None
        try:
            amount = read_amount(written)
            if name == "limit_usd" and str(written).strip()[-1:].isalpha():
                raise ValueError("must be an amount in US dollars, as in 0.05; other currencies are given as `limit`")
            return convert_limit(amount, self._currencies(), datetime.now(UTC))
        except ValueError as error:
            raise InvalidRequest(f"{name}: {error}.", param=name) from None


def _act(said: dict[str, Any], *, is_deleted: bool) -> str:
    """Name a change for the audit log: stopping and resuming are acts of their own."""
    if is_deleted:
        return "budget.delete"
    if said.keys() == {"stopped"}:
        return "budget.stop" if said["stopped"] else "budget.resume"
    return "budget.change"


async def _read_own(connection: Connection, tenant_id: str, budget_id: str | None) -> Sequence[Terms]:
    cursor = await connection.execute(_QUERIES["list"], {"tenant_id": tenant_id, "budget_id": budget_id})
    return [read_terms(row) for row in await cursor.fetchall()]


async def _read_views(connection: Connection, tenant_id: str, terms: Sequence[Terms]) -> list[BudgetView]:
    """Put each budget together with its current window."""
    values = {
        "tenant_id": tenant_id,
        "ids": [each.id for each in terms],
        "spans": [each.span for each in terms],
        "zones": [each.time_zone for each in terms],
        "subjects": MOST_SUBJECTS,
    }
    windows: dict[str, list[dict[str, Any]]] = {}
    for row in await (await connection.execute(_QUERIES["windows"], values)).fetchall():
        windows.setdefault(row["budget_id"], []).append(row)
    return [view_of(each, windows[each.id], tenant_id) for each in terms]


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


def _holder(row: dict[str, Any]) -> Holder:
    seen_s = None if row["seen_us"] is None else max(0.0, (row["now_us"] - row["seen_us"]) / 1e6)
    return Holder(
        id=row["holder"],
        reserved_usd=usd(NanoUSD(int(row["amount"]))),
        seen_s=seen_s,
        is_frozen=seen_s is None or seen_s > FROZEN_S,
    )
