"""Owns the looking for what somebody should know of: a few queries every few seconds, by one process at a time."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backstay.alerts.crossing import Gauge, decide
from backstay.alerts.findings import (
    SpentRow,
    find_ill,
    find_uncovered,
    find_unpriced,
    gauge_of,
    read_budget,
    spent_finding,
)
from backstay.alerts.raising import Alerts
from backstay.alerts.rules import AlertRules
from backstay.alerts.types import KINDS, Finding, Kind
from backstay.budgets import Terms
from backstay.core.caller import DEFAULT_TENANT
from backstay.core.ports import AddFamily, Values
from backstay.health import HealthStore
from backstay.health.summary import summarise
from backstay.jobs.rounds import again_and_again
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.alerts")
LOOK_S = 5.0
LOOK_BACK_S = 6 * 3600.0
"""For how long one unpriced or uncovered call keeps its alert open. What is shipped later is not seen."""
_MOST_NEW = 100
"""Alerts on budgets that begin in one round; the others begin in the next."""
_KEEP_DAYS = 90
_CLEAN_S = 3600.0
_TIMEOUT_S = 30.0


class Evaluator:
    """Looks, raises and resolves."""

    def __init__(
        self,
        database: Database,
        alerts: Alerts,
        rules: Callable[[], AlertRules],
        budgets: Callable[[], Sequence[Terms]],
        on_news: Callable[[], None],
    ):
        """Take the parts.

        Args:
            budgets: The policy's own, which the database does not know.
            on_news: Called after a round that raised or resolved something.
        """
        self._database = database
        self._alerts = alerts
        self._rules = rules
        self._budgets = budgets
        self._on_news = on_news
        self._health = HealthStore(database)
        self._cleaned_at: float | None = None
        self._open: Mapping[str, int] | None = None

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        await again_and_again(self._round)

    def watch(self, add_family: AddFamily) -> None:
        """Show what is open."""
        add_family("backstay_alerts_open", "Alerts that are open, by kind.", "gauge", self._shown)

    async def look(self) -> bool:
        """Look once. False: another process is looking right now."""
        ill = await self._ill()
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            turn = await (await connection.execute(_QUERIES["take_turn"])).fetchone()
            if turn is None or not turn["is_mine"]:
                return False
            policy = {terms.id: terms for terms in self._budgets()}
            changed = await self._look_at_budgets(connection, policy)
            changed += await self._settle(connection, "unknown_price", await self._unpriced(connection))
            changed += await self._settle(
                connection, "usage_over_reservation", await self._uncovered(connection, policy)
            )
            if ill is not None:
                changed += await self._settle(connection, "target_down", ill)
            await self._clean(connection)
            rows = await (await connection.execute(_QUERIES["count_open"])).fetchall()
        self._open = {row["kind"]: row["count"] for row in rows}
        if changed:
            self._on_news()
        return True

    async def _round(self) -> None:
        await self.look()
        await asyncio.sleep(LOOK_S)

    async def _look_at_budgets(self, connection: Connection, policy: Mapping[str, Terms]) -> int:
        rules, lowest = self._rules(), self._rules().lowest_share
        open_alerts = set(await self._alerts.open_within(connection, ["budget_share"]))
        if lowest is None and not open_alerts:
            return 0
        values = {"share": lowest if lowest is not None else 1_000_000}
        rows = await (await connection.execute(_QUERIES["spent_budgets"], values)).fetchall()
        spent: dict[tuple[str, str, str], SpentRow] = {}
        gauges: list[Gauge] = []
        for row in rows:
            budget = read_budget(row, policy)
            if budget is not None:
                gauge = gauge_of(budget, rules)
                gauges.append(gauge)
                spent[gauge.tenant_id, gauge.subject, gauge.window] = budget
        step = decide(gauges, open_alerts)
        for end in step.resolved:
            await self._alerts.resolve_within(connection, end.tenant_id, end.key, end.reason)
        raised = step.raised[:_MOST_NEW]
        for each in raised:
            gauge = each.gauge
            finding = spent_finding(spent[gauge.tenant_id, gauge.subject, gauge.window], gauge, each.bound)
            channels = each.bound.channels if each.is_told else ()
            await self._alerts.raise_within(connection, gauge.tenant_id, finding, channels)
        return len(raised) + len(step.resolved)

    async def _settle(self, connection: Connection, kind: Kind, found: Sequence[tuple[str, Finding]]) -> int:
        """Raise what was found of a kind, where a rule wants it, and resolve the rest."""
        rules = self._rules()
        wanted = [(tenant_id, each) for tenant_id, each in found if rules.wants(tenant_id, kind)]
        keys = {(tenant_id, each.key) for tenant_id, each in wanted}
        changed = 0
        for tenant_id, key in sorted(await self._alerts.open_within(connection, [kind])):
            if (tenant_id, key) not in keys:
                changed += await self._alerts.resolve_within(connection, tenant_id, key, _ENDS[kind])
        for tenant_id, finding in wanted:
            changed += await self._alerts.raise_within(connection, tenant_id, finding) is not None
        return changed

    async def _unpriced(self, connection: Connection) -> list[tuple[str, Finding]]:
        if not self._rules().asks_for("unknown_price"):
            return []
        return find_unpriced(await self._rows(connection, "unpriced"))

    async def _uncovered(self, connection: Connection, policy: Mapping[str, Terms]) -> list[tuple[str, Finding]]:
        if not self._rules().asks_for("usage_over_reservation"):
            return []
        return find_uncovered(await self._rows(connection, "uncovered"), policy)

    async def _rows(self, connection: Connection, name: str) -> list[dict[str, Any]]:
        cursor = await connection.execute(_QUERIES[name], {"look_back_s": LOOK_BACK_S})
        return await cursor.fetchall()

    async def _clean(self, connection: Connection) -> None:
        """Forget old alerts now and then."""
        now = asyncio.get_running_loop().time()
        if self._cleaned_at is None or now - self._cleaned_at > _CLEAN_S:
            await connection.execute(_QUERIES["forget_old"], {"keep_days": _KEEP_DAYS})
            self._cleaned_at = now

    async def _ill(self) -> list[tuple[str, Finding]] | None:
        """Find targets that are left alone; ``None``: no worker says anything, as while all of them start anew."""
        if not self._rules().asks_for("target_down"):
            return []
        reports = await self._health.reports()
        if not reports:
            return None
        now = dt.datetime.now(dt.UTC)
        targets = summarise(reports, await self._health.drains(), now)
        return [(DEFAULT_TENANT, finding) for finding in find_ill(targets.values(), now)]

    def _shown(self) -> Values:
        return [] if self._open is None else [({"kind": kind}, self._open.get(kind, 0)) for kind in KINDS]


_ENDS: Mapping[Kind, str] = {
    "unknown_price": "No such call came in six hours, or no rule asks for it any more.",
    "usage_over_reservation": "No such call came in six hours, or no rule asks for it any more.",
    "target_down": "It is in use again, or no rule asks for it any more.",
}
