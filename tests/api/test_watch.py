"""The watch over spend on the API: whose calls a budget's forecast is of, what is said of its limit, who sees what."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from starlette.requests import Request

from backstay.api.endpoint import Asked, Nothing
from backstay.api.watch import AnomalyQuery, BudgetForecast, ForecastQuery, WatchDeps, anomalies, forecast
from backstay.budgets import BudgetConfig
from backstay.budgets.manage import Budgets, NewBudget
from backstay.core.caller import Caller
from backstay.ledger.anomaly import AnomalyConfig
from backstay.store import Connection, Database

_ADMIN = Caller(tenant_id="acme", kind="operator", id="operator", name="", rights=frozenset({"admin", "read"}))
_KEY = Caller(tenant_id="acme", kind="key", id="key_a", name="", rights=frozenset({"read"}))
_USD = 1_000_000_000
_POLICY = {
    "all": BudgetConfig.model_validate({"limit_usd": 1000, "window": "month"}),
    "each": BudgetConfig.model_validate({"limit_usd": 10, "window": "month", "per": "user"}),
    "fast": BudgetConfig.model_validate({"limit_usd": 1, "window": "minute"}),
}


@pytest.fixture
def deps(database: Database) -> WatchDeps:
    return WatchDeps(database, AnomalyConfig, lambda: [config.terms(name) for name, config in _POLICY.items()])


def _asked(caller: Caller, query: Any) -> Any:
    return Asked(request=cast(Request, None), caller=caller, query=query, body=Nothing())


async def _spend(database: Database, days: int, dollars: float, *, feature: str = "chat", user: str = "u1") -> None:
    """So much a day for some days, today included, in sums by hour and day."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with database.system() as connection:
        for back in range(days + 1):
            for kind, name in (("all", None), ("user", user)):
                for grain in (3600, 86400):
                    await connection.execute(
                        "insert into cost_rollups values ('acme', %s, %s, %s, %s, 'fast', 'acme/gpt', %s, 'key_a',"
                        " 100, 100, 0, 0, 0, 0, 100, 100, %s)",
                        (kind, grain, midnight - timedelta(days=back), name, feature, round(dollars * _USD)),
                    )
            await connection.execute(
                "insert into user_days values ('acme', %s, %s, 100, 0, 0, 0, 100, 100, %s)",
                (midnight - timedelta(days=back), user, round(dollars * _USD)),
            )


async def _window(database: Database, budget_id: str, limit: float, spent: float, *, subject: str = "") -> None:
    """Open the window of this month."""
    async with database.system() as connection:
        await connection.execute(
            "insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, spent)"
            " select 'acme', %s, %s, starts_us, ends_us, %s, %s from budget_span('month', 'UTC', now())",
            (budget_id, subject, round(limit * _USD), round(spent * _USD)),
        )


async def _create(database: Database, **of: Any) -> str:
    async def record(connection: Connection, act: str, subject: str, said: dict[str, Any]) -> None:
        pass

    return (await Budgets(database).create(_ADMIN, NewBudget(**of), record)).id


async def _budgets(deps: WatchDeps) -> dict[str, BudgetForecast]:
    report = await forecast(deps, _asked(_ADMIN, ForecastQuery()))
    return {f"{each.budget_id} {each.scope}": each for each in report.budgets}


async def test_a_budget_is_forecast_from_its_own_calls(database: Database, tenant: str, deps: WatchDeps):
    """Ten dollars a day of one feature: its small budget will be over, its large one not, another feature's neither."""
    await _spend(database, 60, 10)
    small = await _create(database, limit_usd="10", scope="feature:chat")
    large = await _create(database, limit_usd="100000", scope=["feature:chat", "user:u1"])
    other = await _create(database, limit_usd="10", scope="feature:other")
    both = await _create(database, limit_usd="10", scope=["tag:a", "user:u1"])
    for budget, limit, spent in ((small, 10, 10.0), (large, 100_000, 5.0), (other, 10, 0.0), (both, 10, 0)):
        await _window(database, budget, limit, spent)
    found = await _budgets(deps)
    assert {name: each.verdict for name, each in found.items() if not name.startswith("policy:")} == {
        f"{small} feature:chat": "over",
        f"{large} feature:chat,user:u1": "within",
        f"{other} feature:other": "unknown",
    }
    spent_at = found[f"{small} feature:chat"].spent_at
    assert spent_at is not None and spent_at - datetime.now(UTC) < timedelta(minutes=1), "it is spent already"
    assert found[f"{large} feature:chat,user:u1"].spent_at is None


async def test_budgets_of_the_policy_are_forecast(database: Database, tenant: str, deps: WatchDeps):
    """As the policy says whose calls they count; what each user has, by user; and no window of a minute."""
    await _spend(database, 60, 1, user="u1")
    await _spend(database, 60, 1, user="u2", feature="other")
    for budget, subject in (("policy:all", ""), ("policy:each", "u2"), ("policy:fast", ""), ("policy:gone", "")):
        await _window(database, budget, 10, 9.999, subject=subject)
    found = await _budgets(deps)
    assert set(found) == {"policy:all tenant", "policy:each user:u2"}
    assert found["policy:all tenant"].expected_usd is not None
    whole, part = (
        float(found[name].expected_usd or 0) - 9.999 for name in ("policy:all tenant", "policy:each user:u2")
    )
    assert whole == pytest.approx(2 * part)


async def test_a_key_sees_its_own_alone(database: Database, tenant: str, deps: WatchDeps):
    """No budgets, and not what other keys spent."""
    await _spend(database, 40, 5)
    own = await forecast(deps, _asked(_KEY, ForecastQuery(by="user")))
    assert own.budgets == []
    assert [row.name for row in own.rows] == ["u1"]
    stranger = Caller(tenant_id="acme", kind="key", id="key_z", name="", rights=frozenset({"read"}))
    other = await forecast(deps, _asked(stranger, ForecastQuery(by="user")))
    assert (other.rows, other.total.spent_usd, other.total.expected_usd) == ([], "0.000000", None)


async def test_an_anomaly_is_told_in_words_and_figures(database: Database, tenant: str, deps: WatchDeps):
    """Its parts add up to the excess; and what the query says takes the place of the policy's."""
    await _spend(database, 60, 10)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    async with database.system() as connection:
        await connection.execute(
            "update cost_rollups set cost_nanousd = 10 * cost_nanousd, calls = 5 * calls where at = %s", (midnight,)
        )
    report = await anomalies(deps, _asked(_ADMIN, AnomalyQuery(since="24h")))
    (found,) = report.anomalies
    assert float(found.by_calls_usd) + float(found.by_cost_per_call_usd) == pytest.approx(float(found.excess_usd))
    assert (found.usual.calls, found.found.calls, found.excess_usd) == (100, 500, "90.000000")
    assert "5.0x calls" in found.text and "2.0x cost a call" in found.text
    less = await anomalies(deps, _asked(_ADMIN, AnomalyQuery(since="90d", min_usd=200)))
    assert (less.anomalies, less.min_usd, less.until - less.since) == ([], "200.000000", timedelta(days=31))
