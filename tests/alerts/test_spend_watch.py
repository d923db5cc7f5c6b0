"""What the watch over spend tells of: anomalies, budgets that will not last, loops; each once, and when it is over."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backstay.alerts import AlertRules, Alerts
from backstay.alerts.spend_watch import SpendWatch, tell_news
from backstay.budgets import BudgetConfig, Terms
from backstay.core.caller import Caller
from backstay.core.errors import StoreUnavailable
from backstay.ledger.anomaly import AnomalyConfig
from backstay.loops import LoopConfig, Loops
from backstay.store import Database

_USD = 1_000_000_000
_NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
_MIDNIGHT = _NOW.replace(hour=0, minute=0)


def _watch(database: Database, limit_usd: int = 10) -> SpendWatch:
    def budgets() -> list[Terms]:
        return [BudgetConfig.model_validate({"limit_usd": limit_usd, "window": "month"}).terms("small")]

    return SpendWatch(database, Alerts(database, AlertRules), AnomalyConfig, budgets)


async def _spend(database: Database, at: datetime, dollars: float, *, grain: int = 3600, feature: str = "chat") -> None:
    async with database.system() as connection:
        for kind, name in (("all", None), ("user", "u1")):
            await connection.execute(
                "insert into cost_rollups values ('acme', %s, %s, %s, %s, 'fast', 'acme/gpt', %s, 'key_a', 10, 10, 0,"
                " 0, 0, 0, 100, 100, %s) on conflict do nothing",
                (kind, grain, at, name, feature, round(dollars * _USD)),
            )


async def _weeks(database: Database) -> None:
    """Seven weeks of five dollars in this hour of the week and those beside it, and a dollar an hour of late."""
    hour = _NOW.replace(minute=0)
    for week in range(1, 8):
        for beside in range(-2, 3):
            await _spend(database, hour - timedelta(weeks=week, hours=beside), 5)
    for back in range(2, 30):
        await _spend(database, hour - timedelta(hours=back), 1)


async def _open(database: Database) -> list[tuple[str, str]]:
    async with database.system() as connection:
        rows = await (await connection.execute("select kind, subject from alerts where state = 'open'")).fetchall()
    return sorted((row["kind"], row["subject"]) for row in rows)


async def test_an_anomaly_is_told_until_it_is_over(database: Database, tenant: str) -> None:
    """Once, though it is found again and in several scopes; two hours later it is resolved."""
    await _weeks(database)
    watch = _watch(database)
    await watch.look(_NOW, forecasts=False)
    assert await _open(database) == []
    await _spend(database, _NOW.replace(minute=0), 80, feature="loose")
    for _ in range(2):
        await watch.look(_NOW, forecasts=False)
    assert [kind for kind, _ in await _open(database)] == ["anomaly"]
    async with database.system() as connection:
        row = await (await connection.execute("select * from alerts")).fetchone()
    assert row is not None
    assert row["numbers"]["cost_usd"] == "80.000000"
    assert "feature loose (+$80.00" in row["details"][0]
    assert row["link"].startswith("/costs?since=")
    await watch.look(_NOW + timedelta(hours=2), forecasts=False)
    assert await _open(database) == []


async def test_a_budget_that_will_not_last_is_told(database: Database, tenant: str) -> None:
    """A dollar a day for two months, and ten dollars of which nine and a half are spent; not one of a thousand."""
    for back in range(60):
        await _spend(database, _MIDNIGHT - timedelta(days=back), 1, grain=86400)
    await _spend(database, _NOW.replace(minute=0), 1)
    limits = (("policy:small", 10, 10.0), ("policy:other", 1, 0.9))
    async with database.system() as connection:
        for budget, limit, spent in limits:
            await connection.execute(
                "insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, spent)"
                " select 'acme', %s, '', starts_us, ends_us, %s, %s from budget_span('month', 'UTC', now())",
                (budget, limit * _USD, round(spent * _USD)),
            )
    watch = _watch(database)
    await watch.look(_NOW, anomalies=False)
    assert await _open(database) == [("forecast_over", "budget:policy:small")]
    await _watch(database, limit_usd=1000).look(_NOW, anomalies=False)
    assert await _open(database) == []


def _loop(times: int) -> Loops:
    loops = Loops()
    loops.adopt(LoopConfig.model_validate({"repeats": 3, "window_s": 10}))
    caller = Caller(tenant_id="acme", kind="key", id="key_a", name="agent", rights=frozenset({"call"}))
    for number in range(times):
        loops.see(caller, b'[{"role":"user","content":"hi"}]', model="fast", feature=None, user=None, at_ns=number,
                  trace_id=f"{number:032x}")  # fmt: skip
    return loops


async def test_a_loop_is_told_until_it_is_quiet(database: Database, tenant: str) -> None:
    """Once, by all workers that see it; when none has for its window, it is resolved."""
    for loops in (_loop(5), _loop(9)):
        await tell_news(loops, Alerts(database, AlertRules))
    assert await _open(database) == [("loop", "key:key_a")]
    watch = _watch(database)
    await watch.look(_NOW)
    assert len(await _open(database)) == 1
    async with database.system() as connection:
        await connection.execute("update alerts set seen_at = now() - interval '131 seconds'")
    await watch.look(_NOW)
    assert await _open(database) == []


async def test_what_could_not_be_told_is_told_later(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Postgres that is away does not make a loop forgotten."""
    loops, alerts = _loop(5), Alerts(database, AlertRules)

    async def away(*_: Any) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "raise_alert", away)
        await tell_news(loops, alerts)
    await tell_news(loops, alerts)
    assert await _open(database) == [("loop", "key:key_a")]
