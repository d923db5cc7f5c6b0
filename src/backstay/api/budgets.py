"""Owns budgets on Backstay's own API, and the proof of the books."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from backstay.access import AuditLog
from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post
from backstay.budgets import Terms, end_holder
from backstay.budgets.manage import BudgetBooks, BudgetChange, Budgets, Holder, NewBudget, Record
from backstay.budgets.views import BudgetView
from backstay.core.caller import DEFAULT_TENANT, Caller
from backstay.core.currencies import Currencies
from backstay.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from backstay.core.money import NanoUSD, usd
from backstay.ledger.adjustments import Adjustments
from backstay.ledger.proof import Proof
from backstay.store import Connection, Database


class BudgetDeps:
    """What these endpoints use."""

    def __init__(
        self,
        database: Database,
        policy: Callable[[], Sequence[Terms]],
        currencies: Callable[[], Currencies] = Currencies,
    ):
        self.database = database
        self.budgets = Budgets(database, policy, currencies)
        self.proof = Proof(database)
        self.audit = AuditLog(database)


class BudgetList(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's budgets, the newest first, and after them those of the policy."""

    budgets: list[BudgetView]


class HolderList(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds money of budgets."""

    workers: list[Holder]


class WrittenOff(msgspec.Struct, frozen=True, kw_only=True):
    """What a lost worker held, and is booked as spent now."""

    id: str
    spent_usd: str


class ProvenDay(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the books of one day, UTC, are right."""

    ledger_usd: str
    traces_usd: str
    differing_calls: int
    """Calls whose cost is not the same in ledger and traces."""
    differing_rollups: int
    """Sums of the day, and of weeks that begin with it, that are not what their entries add up to."""


class ProvenAccounts(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the accounts of budgets are right, and what was booked beside the ledger of calls."""

    adjusted_usd: str
    budgets: BudgetBooks


class DayList(msgspec.Struct, frozen=True, kw_only=True):
    """All days, UTC, that are to be proven, the first one first."""

    days: list[dt.date]


class ProvenBooks(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the books are right."""

    ok: bool
    ledger_usd: str
    traces_usd: str
    differing_calls: int
    """Calls whose cost is not the same in ledger and traces."""
    differing_rollups: int
    """Sums kept of the ledger that are not what its entries add up to."""
    adjusted_usd: str
    """What vendors' bills differed by and was booked, beside the ledger of calls."""
    budgets: BudgetBooks


async def list_budgets(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> BudgetList:
    return BudgetList(budgets=list(await deps.budgets.list(asked.caller)))


async def create_budget(deps: BudgetDeps, asked: Asked[Nothing, NewBudget]) -> BudgetView:
    return await deps.budgets.create(asked.caller, asked.body, _record(deps, asked.caller))


async def change_budget(deps: BudgetDeps, asked: Asked[Nothing, BudgetChange]) -> BudgetView:
    return await deps.budgets.change(asked.caller, asked.path("budget_id"), asked.body, _record(deps, asked.caller))


async def delete_budget(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> Nothing:
    await deps.budgets.delete(asked.caller, asked.path("budget_id"), _record(deps, asked.caller))
    return Nothing()


async def list_holders(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> HolderList:
    _require_operator(asked.caller)
    return HolderList(workers=list(await deps.budgets.holders()))


async def forget_holder(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> WrittenOff:
    _require_operator(asked.caller)
    holder = asked.path("holder")
    known = next((each for each in await deps.budgets.holders() if each.id == holder), None)
    if known is None:
        raise NotFound(f"No worker {holder} holds anything. `backstay workers list` shows who does.")
    if not known.is_frozen:
        seen = f"{holder} was heard of {known.seen_s:.0f} s ago"
        raise Conflict(f"{seen}. Stop it: its journal tells what it spent.")
    amount = await end_holder(deps.database, holder, is_spent=True)
    async with deps.database.system() as connection:
        await deps.audit.note(connection, asked.caller, "worker.forget", holder, spent_usd=usd(amount))
    return WrittenOff(id=holder, spent_usd=usd(amount))


async def prove(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> ProvenBooks:
    """Prove all, a day after the other."""
    tenant_id = asked.caller.tenant_id
    ledger = traces = calls = rollups = 0
    for day in await deps.proof.days(tenant_id):
        books = await deps.proof.check_day(tenant_id, day)
        ledger, traces = ledger + books.ledger_nanousd, traces + books.traces_nanousd
        calls += books.differing_calls
        rollups += await deps.proof.compare(tenant_id, day)
    accounts = await prove_accounts(deps, asked)
    budgets = accounts.budgets
    return ProvenBooks(
        ok=not calls and not rollups and not budgets.differing and not budgets.differing_burns,
        ledger_usd=usd(NanoUSD(ledger)),
        traces_usd=usd(NanoUSD(traces)),
        differing_calls=calls,
        differing_rollups=rollups,
        adjusted_usd=accounts.adjusted_usd,
        budgets=budgets,
    )


async def list_days(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> DayList:
    return DayList(days=await deps.proof.days(asked.caller.tenant_id))


async def prove_day(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> ProvenDay:
    day = _day(asked.path("day"))
    books = await deps.proof.check_day(asked.caller.tenant_id, day)
    return ProvenDay(
        ledger_usd=usd(books.ledger_nanousd),
        traces_usd=usd(books.traces_nanousd),
        differing_calls=books.differing_calls,
        differing_rollups=await deps.proof.compare(asked.caller.tenant_id, day),
    )


def _day(text: str) -> dt.date:
    """Read a day of the calls that there can be. Raises ``InvalidRequest``."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 9000:
        raise InvalidRequest(f"{text!r} is no day of 1970 to 9000. Write it as 2026-05-31.", param="day")
    return day


async def prove_accounts(deps: BudgetDeps, asked: Asked[Nothing, Nothing]) -> ProvenAccounts:
    tenant_id = asked.caller.tenant_id
    adjusted = await Adjustments(deps.database).read(tenant_id, first=dt.date.min, until=dt.date.max)
    return ProvenAccounts(
        adjusted_usd=usd(NanoUSD(sum(each.amount_nanousd for each in adjusted))),
        budgets=await deps.budgets.audit(asked.caller),
    )


def _record(deps: BudgetDeps, caller: Caller) -> Record:
    async def record(connection: Connection, action: str, subject: str, detail: dict[str, Any]) -> None:
        await deps.audit.note_own(connection, caller, action, subject, **detail)

    return record


def _require_operator(caller: Caller) -> None:
    """Workers belong to the installation. Raises ``Forbidden``."""
    if caller.kind != "operator" and not (caller.tenant_id == DEFAULT_TENANT and caller.may("admin")):
        raise Forbidden("Workers belong to the installation: only its operator, or an admin of its own tenant, may.")


_NO_SUCH = (NotFound,)

BUDGET_ENDPOINTS: tuple[Endpoint[BudgetDeps, Any, Any], ...] = (
    get("/v1/budgets", "List budgets, and what is spent and held of each", list_budgets,
        answer=BudgetList, query=Nothing, right="read"),
    post(
        "/v1/budgets", "Make a budget; every worker follows within a second", create_budget,
        answer=BudgetView, body=NewBudget, right="admin", status=201,
    ),
    post(
        "/v1/budgets/{budget_id}/change", "Change a budget for calls from now on", change_budget,
        answer=BudgetView, body=BudgetChange, right="admin", errors=(NotFound, Conflict),
    ),
    post(
        "/v1/budgets/{budget_id}/delete", "End a budget: it counts no call from now on", delete_budget,
        answer=Nothing, body=Nothing, right="admin", errors=_NO_SUCH,
    ),
    get("/v1/workers", "List who holds money of budgets", list_holders,
        answer=HolderList, query=Nothing, right="admin"),
    post(
        "/v1/workers/{holder}/forget", "Book what a lost worker held as spent", forget_holder,
        answer=WrittenOff, body=Nothing, right="admin", errors=(NotFound, Conflict),
    ),
    get("/v1/books", "Prove the books: ledger against traces, sums against entries, accounts against postings",
        prove, answer=ProvenBooks, query=Nothing, right="admin"),
    get("/v1/books/days", "List the days whose books are to be proven", list_days,
        answer=DayList, query=Nothing, right="admin"),
    get("/v1/books/days/{day}", "Prove one day's books: ledger against traces, sums against entries", prove_day,
        answer=ProvenDay, query=Nothing, right="admin", errors=(InvalidRequest, NotFound)),
    get("/v1/books/accounts", "Prove the accounts of budgets against their postings", prove_accounts,
        answer=ProvenAccounts, query=Nothing, right="admin"),
)  # fmt: skip
