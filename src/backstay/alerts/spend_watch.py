"""Owns the watch over spend: who looks for anomalies, budgets that will not last and loops, and tells of them."""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Sequence

import msgspec

from backstay.alerts.budget_forecasts import BudgetForecasts
from backstay.alerts.raising import Alerts
from backstay.alerts.spend_findings import forecast_key, of_anomaly, of_forecast, of_loop
from backstay.alerts.types import Key
from backstay.budgets.types import Terms
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, StoreUnavailable
from backstay.jobs.rounds import again_and_again
from backstay.ledger.anomalies import Anomalies
from backstay.ledger.anomaly import AnomalyConfig
from backstay.loops import Loops
from backstay.store import Database, load_queries
from backstay.store.grains import floor

_QUERIES = load_queries("backstay.alerts", "spend.sql")
_LOOK_S = 60.0
_ANOMALIES_EVERY = 5
_FORECASTS_EVERY = 15
_TELL_S = 5.0
_HOUR = dt.timedelta(hours=1)
_TIMEOUT_S = 20.0

_log = logging.getLogger(__name__)


class SpendWatch:
    """Looks at all tenants' spend now and then, in the process that runs jobs."""

    def __init__(
        self,
        database: Database,
        alerts: Alerts,
        rules: Callable[[], AnomalyConfig],
        policy_budgets: Callable[[], Sequence[Terms]],
    ):
        self._turn = 0
        self._database = database
        self._alerts = alerts
        self._rules = rules
        self._anomalies = Anomalies(database)
        self._forecasts = BudgetForecasts(database, policy_budgets)

    async def run(self) -> None:
        """Look until cancelled: at loops each minute, at anomalies every five, at forecasts every fifteen."""
        await again_and_again(self._round)

    async def _round(self) -> None:
        turn = self._turn
        await self.look(
            dt.datetime.now(dt.UTC),
            anomalies=turn % _ANOMALIES_EVERY == 0,
            forecasts=turn % _FORECASTS_EVERY == 0,
        )
        self._turn += 1
        await asyncio.sleep(_LOOK_S)

    async def look(self, now: dt.datetime, *, anomalies: bool = True, forecasts: bool = True) -> None:
        """Look once. What fails for one tenant is logged, and the others are looked at all the same.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        await self._end_quiet_loops()
        for tenant_id in await self._tenants(now) if anomalies or forecasts else []:
            try:
                if anomalies:
                    await self._look_for_anomalies(tenant_id, now)
                if forecasts:
                    await self._look_ahead(tenant_id, now)
            except StoreUnavailable:
                raise
            except BackstayError as error:
                _log.error("The spend of the tenant %s could not be looked at: %s", tenant_id, error.message)

    async def _look_for_anomalies(self, tenant_id: str, now: dt.datetime) -> None:
        """Look at the hour that runs and the one before it: what ended longer ago is over."""
        found = await self._anomalies.find(tenant_id, self._rules(), since=floor(now, _HOUR) - _HOUR, until=now)
        known = await self._alerts.open_keys(tenant_id, "anomaly")
        findings = {each.key: each for each in (of_anomaly(one, known) for one in reversed(found))}
        await self._alerts.settle(tenant_id, "anomaly", list(findings.values()), "Spend is as usual again.")

    async def _look_ahead(self, tenant_id: str, now: dt.datetime) -> None:
        """Tell of budgets that will not last, until they surely do: one that merely may is not raised, nor resolved."""
        caller = Caller(tenant_id=tenant_id, kind="operator", id="alerts", name="alerts", rights=frozenset())
        known = await self._alerts.open_keys(tenant_id, "forecast_over")
        found = [
            each
            for each in await self._forecasts.of(caller, now)
            if each.verdict == "over" or (each.verdict == "may_exceed" and forecast_key(each) in known)
        ]
        await self._alerts.settle(
            tenant_id,
            "forecast_over",
            [of_forecast(each) for each in found],
            "The budget lasts, or its window is over.",
        )

    async def _end_quiet_loops(self) -> None:
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["quiet_loops"])).fetchall()
            for row in rows:
                key = msgspec.convert(row, Key)
                await self._alerts.resolve_within(
                    connection, row["tenant_id"], key, "The calls are not repeated any more."
                )

    async def _tenants(self, now: dt.datetime) -> list[str]:
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            rows = await (await connection.execute(_QUERIES["tenants"], {"since": now - 2 * _HOUR})).fetchall()
        return [row["tenant_id"] for row in rows]


async def tell_of_loops(loops: Loops, alerts: Alerts) -> None:
    """Raise alerts of the loops that one worker sees, until cancelled; without Postgres, when it is back."""

    async def tell() -> None:
        await asyncio.sleep(_TELL_S)
        await tell_news(loops, alerts)

    await again_and_again(tell)


async def tell_news(loops: Loops, alerts: Alerts) -> None:
    """Raise alerts of the loops that went on since the last time."""
    news = loops.take_news()
    for place, loop in enumerate(news):
        try:
            await alerts.raise_alert(loop.tenant_id, of_loop(loop))
        except StoreUnavailable:
            loops.give_back(news[place:])
            return
