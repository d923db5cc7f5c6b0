"""What is looked for in budgets, ledger and health: found once, by one of many, and over when it is over."""

import asyncio
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from backstay.alerts import AlertConfig, AlertRules, Alerts
from backstay.alerts.book import AlertBook
from backstay.alerts.evaluation import Evaluator
from backstay.budgets import Terms
from backstay.core.caller import DEFAULT_TENANT, RIGHTS, Caller
from backstay.core.money import NanoUSD
from backstay.health import HealthStore, TargetState
from backstay.health.breaker import BreakerState, Cause
from backstay.health.target import LastError
from backstay.store import Database

_USD = 1_000_000_000
_OPERATOR = Caller(tenant_id="acme", kind="operator", id="operator", name="operator", rights=frozenset(RIGHTS))
_MONEY = AlertConfig(budget_share=[Decimal("0.5"), Decimal("0.8"), Decimal(1)], channels=[])


def _evaluator(database: Database, *alerts: AlertConfig, budgets: Sequence[Terms] = ()) -> Evaluator:
    rules = AlertRules({str(number): alert for number, alert in enumerate(alerts)})
    return Evaluator(database, Alerts(database, lambda: rules), lambda: rules, lambda: budgets, on_news=lambda: None)


async def _execute(database: Database, statement: Any, *values: Any) -> None:
    async with database.system() as connection:
        await connection.execute(statement, values)


async def _make_budget(database: Database, budget_id: str = "bud_1", *, hard: bool = True) -> None:
    await _execute(
        database,
        "insert into budgets (tenant_id, budget_id, name, scope, limit_nanousd, span, hard, created_by)"
        " values ('acme', %s, 'chat', array['feature:chat'], %s, 'lifetime', %s, 'x')",
        budget_id, 10 * _USD, hard,
    )  # fmt: skip


async def _spend(database: Database, spent: int, budget_id: str = "bud_1", limit: int = 10 * _USD) -> None:
    """Set what is spent of a lifetime's window, and the limit of its budget."""
    await _execute(database, "update budgets set limit_nanousd = %s where budget_id = %s", limit, budget_id)
    await _execute(
        database,
        "insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, spent)"
        " values ('acme', %s, '', 0, 9223372036854775807, %s, %s)"
        " on conflict (tenant_id, budget_id, subject, starts_us)"
        " do update set spent = excluded.spent, limit_nanousd = excluded.limit_nanousd",
        budget_id, limit, spent,
    )  # fmt: skip


async def _shown(database: Database, state: Any = "open") -> list[tuple[str, str]]:
    found = await AlertBook(database).list(_OPERATOR, state=state)
    return sorted((alert.threshold or alert.kind, alert.title) for alert in found)


async def test_budgets_are_followed(database: Database, tenant: str) -> None:
    """Open at each share, with exact amounts; over when the limit is raised; the same again when it is spent."""
    evaluator = _evaluator(database, _MONEY)
    await _make_budget(database)
    await _spend(database, 4_999_999_999)
    assert await evaluator.look() and await _shown(database) == []
    await _spend(database, 8_000_000_000)
    await evaluator.look()
    await evaluator.look()
    assert await _shown(database) == [("0.5", "budget chat: 50 % spent"), ("0.8", "budget chat: 80 % spent")]
    (alert,) = [each for each in await AlertBook(database).list(_OPERATOR) if each.threshold == "0.8"]
    assert alert.numbers == {"share": 0.8, "spent_usd": "8.000000", "limit_usd": "10.000000", "left_usd": "2.000000"}
    assert (alert.severity, alert.subject) == ("warning", "budget:bud_1")
    await _spend(database, 8_000_000_000, limit=15 * _USD)
    await evaluator.look()
    assert await _shown(database) == [("0.5", "budget chat: 50 % spent")]
    (over,) = await AlertBook(database).list(_OPERATOR, state="resolved")
    assert over.resolution == "It fell to 53 %, below 75 %."
    await _spend(database, 12_000_000_000, limit=15 * _USD)
    await evaluator.look()
    assert [threshold for threshold, _ in await _shown(database)] == ["0.5", "0.8"]


async def test_a_limit_that_was_lowered_counts_at_once(database: Database, tenant: str) -> None:
    """Though no call has come since, and the window still has the old one."""
    await _make_budget(database)
    await _spend(database, 4 * _USD)
    await _execute(database, "update budgets set limit_nanousd = %s", 5 * _USD)
    await _evaluator(database, _MONEY).look()
    assert [threshold for threshold, _ in await _shown(database)] == ["0.5", "0.8"]


async def test_a_deleted_budget_is_over(database: Database, tenant: str) -> None:
    """And so is what no rule names any more."""
    await _make_budget(database)
    await _spend(database, 9 * _USD)
    await _evaluator(database, _MONEY).look()
    await _execute(database, "update budgets set deleted_at = now()")
    await _evaluator(database, _MONEY).look()
    assert await _shown(database) == [] and len(await _shown(database, "resolved")) == 2


async def test_rules_that_are_taken_away_end_their_alerts(database: Database, tenant: str) -> None:
    """Without any rule, what was open is over."""
    await _make_budget(database)
    await _spend(database, 9 * _USD)
    await _evaluator(database, _MONEY).look()
    await _evaluator(database).look()
    assert await _shown(database) == []


async def test_the_policys_budgets_are_known_by_name(database: Database, tenant: str) -> None:
    """A pattern picks them; one that the policy has no more says nothing, nor does another tenant's rule."""
    terms = Terms(tenant_id=None, id="policy:all", name="all", limit=NanoUSD(10 * _USD), span="lifetime")
    await _spend(database, 10 * _USD, "policy:all")
    await _spend(database, 10 * _USD, "policy:gone")
    named = AlertConfig(budget_share=[Decimal("0.9")], budgets=["a*"])
    others = [
        AlertConfig(budget_share=[Decimal("0.7")], budgets=["z*"]),
        AlertConfig(budget_share=[Decimal("0.6")], tenants=["default"]),
    ]
    await _evaluator(database, named, *others, budgets=[terms]).look()
    assert await _shown(database) == [("0.9", "budget all: 90 % spent")]


async def test_unpriced_usage_is_found(database: Database, tenant: str) -> None:
    """Usage whose cost is unknown opens one alert per target; a failed attempt without usage opens none."""
    await _execute(database, "select ensure_partitions((now() at time zone 'utc')::date)")
    for number, (target, tokens) in enumerate([("acme/new", 10), ("acme/new", 20), ("acme/down", None)]):
        await _execute(
            database,
            "insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, model, target, input_tokens)"
            " values ('acme', now(), %s, 0, 't', 'm', %s, %s)",
            f"call_{number}", target, tokens,
        )  # fmt: skip
    evaluator = _evaluator(database, AlertConfig(on=["unknown_price"]))
    await evaluator.look()
    assert await _shown(database) == [("unknown_price", "acme/new has no price")]
    await _evaluator(database).look()
    assert await _shown(database) == []


async def test_a_cost_beyond_its_reservation_is_found(database: Database, tenant: str) -> None:
    """Of a hard budget; of a soft one it is as it should be."""
    await _execute(database, "select ensure_partitions((now() at time zone 'utc')::date)")
    await _make_budget(database)
    await _make_budget(database, "bud_soft", hard=False)
    for budget_id in ("bud_1", "bud_soft"):
        await _execute(
            database,
            "insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink,"
            " amount, call_id) values ('acme', now(), %s, '', 0, 'charge', 'free', 'spent', 2500000, 'call_1')",
            budget_id,
        )
    await _evaluator(database, AlertConfig(on=["usage_over_reservation"])).look()
    (alert,) = await AlertBook(database).list(_OPERATOR)
    assert alert.numbers == {"calls": 1, "uncovered_usd": "0.002500", "most_usd": "0.002500"}
    assert alert.details[0] == "1 call in six hours cost $0.0025 more than was reserved, one of them $0.0025."
    assert (alert.severity, alert.subject) == ("critical", "budget:bud_1")


def _state(
    target: str, ill_for_s: float | None, cause: Cause | None = None, breaker: BreakerState = "closed"
) -> TargetState:
    return TargetState(
        target=target, breaker=breaker, cause=cause, readiness="ready", in_flight=0, concurrency_limit=None,
        retries_left=1.0, tries=9, failures=9, opened=1, ill_for_s=ill_for_s,
        last_error=None if ill_for_s is None else LastError(fault="overloaded", http_status=529),
        last_error_ago_s=None if ill_for_s is None else 1.0,
    )  # fmt: skip


async def test_a_target_that_stays_down_is_found(database: Database) -> None:
    """Not a hiccup, nor one that is slow; while no worker says anything, nothing changes; in use again, it is over."""
    operator = msgspec.structs.replace(_OPERATOR, tenant_id=DEFAULT_TENANT)
    health, book = HealthStore(database), AlertBook(database)
    evaluator = _evaluator(database, AlertConfig(on=["target_down"]))
    await health.report(
        "one",
        [
            _state("acme/down", 40.0, "errors", "half_open"),
            _state("acme/hiccup", 5.0, "errors", "open"),
            _state("acme/slow", 90.0, "slow", "half_open"),
        ],
    )
    await evaluator.look()
    (alert,) = await book.list(operator)
    assert (alert.subject, alert.title, alert.severity) == ("target:acme/down", "acme/down is down", "critical")
    assert alert.details[1] == "The last error: 529, overloaded."
    await _execute(database, "delete from target_states")
    await evaluator.look()
    assert len(await book.list(operator)) == 1
    await health.report("one", [_state("acme/down", None)])
    await evaluator.look()
    (over,) = await book.list(operator, state="resolved")
    assert over.resolution == "It is in use again, or no rule asks for it any more."


_PROCESS = """
import asyncio, sys
from decimal import Decimal
from backstay.alerts import AlertConfig, AlertRules, Alerts, ChannelConfig
from backstay.alerts.evaluation import Evaluator
from backstay.store import Database

async def main():
    database = Database(sys.argv[1])
    channels = {"ops": ChannelConfig(kind="email", to=["ops@example.org"])}
    rules = AlertRules({"a": AlertConfig(budget_share=[Decimal("0.5")], channels=["ops"])}, channels)
    evaluator = Evaluator(database, Alerts(database, lambda: rules), lambda: rules, tuple, on_news=lambda: None)
    print("ready", flush=True)
    sys.stdin.readline()
    looked = [await evaluator.look() for _ in range(20)]
    await database.close()
    print(sum(looked), flush=True)

asyncio.run(main())
"""


async def test_two_processes_raise_once(database: Database, database_url: str, tenant: str) -> None:
    """Two processes that look over and over at the same time raise each alert once, and tell each channel once."""
    for number in range(30):
        await _make_budget(database, f"bud_{number}")
        await _spend(database, 6 * _USD, f"bud_{number}")
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, database_url, stdin=pipe, stdout=pipe)
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert sum(int(out) for out, _ in said) >= 1
    async with database.system() as connection:
        row = await (
            await connection.execute(
                "select (select count(*) from alerts) as alerts, (select count(*) from alert_deliveries) as told"
            )
        ).fetchone()
    assert row == {"alerts": 30, "told": 30}
