"""Tests of how budgets are shown: those of the policy from the start, sums over all, states, and who changed what."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from backstay.budgets import BudgetConfig
from backstay.budgets.manage import BudgetChange, Budgets, NewBudget
from backstay.budgets.views import view_of
from backstay.core.caller import Caller
from backstay.core.currencies import Currencies, DatedRates
from backstay.core.errors import Conflict, InvalidRequest, NotFound
from backstay.store import Connection, Database

OPERATOR = Caller(tenant_id="acme", kind="operator", id="operator", name="operator", rights=frozenset({"admin"}))
OTHER = Caller(tenant_id="other", kind="operator", id="operator", name="operator", rights=frozenset({"admin"}))
POLICY = [
    BudgetConfig.model_validate({"limit_usd": "0.000001", "per": "user", "hard": False, "window": "day"}).terms("each"),
    BudgetConfig.model_validate({"limit_usd": "5", "scope": ["feature:chat"], "window": "lifetime"}).terms("chat"),
]


class Acts:
    """Records what the audit log would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, connection: Connection, action: str, subject: str, detail: dict[str, Any]) -> None:
        self.told.append((action, detail))


async def test_budgets_of_the_policy_are_listed_before_they_are_used(database: Database) -> None:
    """With their scope, whom they are for, and whether they are hard; in every tenant."""
    budgets = Budgets(database, lambda: POLICY)
    for by in (OPERATOR, OTHER):
        each, chat = await budgets.list(by)
        assert (each.id, each.per, each.hard, each.window, each.state) == (
            "policy:each",
            "user",
            False,
            "day",
            "active",
        )
        assert (each.scope, each.left_usd, each.subjects) == (f"tenant:{by.tenant_id}", None, [])
        assert each.starts_at is not None and each.resets_at is not None and each.starts_at < each.resets_at
        assert (chat.scope, chat.hard, chat.limit_usd, chat.left_usd) == ("feature:chat", True, "5.000000", "5.000000")
        assert chat.resets_at is None
        assert await budgets.show(by, "policy:chat") == chat


async def test_a_budget_that_left_the_policy_is_not_listed(database: Database) -> None:
    """Though its window is still there."""
    async with database.system() as connection:
        await connection.execute(
            "insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, spent)"
            " values ('acme', 'policy:gone', '', 0, 9223372036854775807, 10, 5)"
        )
    budgets = Budgets(database, lambda: POLICY)
    assert [each.id for each in await budgets.list(OPERATOR)] == ["policy:each", "policy:chat"]
    with pytest.raises(NotFound):
        await budgets.show(OPERATOR, "policy:gone")


async def test_the_policys_budgets_are_changed_in_the_policy(database: Database) -> None:
    """Neither changed nor deleted here, and the error says where."""
    budgets, acts = Budgets(database, lambda: POLICY), Acts()
    with pytest.raises(Conflict, match=r"backstay\.toml"):
        await budgets.change(OPERATOR, "policy:chat", BudgetChange(stopped=True), acts)
    with pytest.raises(Conflict, match=r"backstay\.toml"):
        await budgets.delete(OPERATOR, "policy:chat", acts)
    assert acts.told == []


async def test_sums_are_over_all_whose_it_is(database: Database) -> None:
    """Of 130 users those 100 who spent most are shown; the sums count all; the first who is over makes it so."""
    budgets = Budgets(database, lambda: POLICY)
    async with database.system() as connection:
        await connection.execute(
            "insert into budget_windows"
            " (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, spent, granted)"
            " select 'acme', 'policy:each', 'u' || n, b.starts_us, b.ends_us, 1000, n * 8, 3"
            " from generate_series(1, 130) n, budget_span('day', 'UTC', clock_timestamp()) b"
        )
    each, _ = await budgets.list(OPERATOR)
    assert (each.spent_usd, each.reserved_usd) == ("0.00006812", "0.00000039")
    assert (len(each.subjects), each.subject_count, each.state) == (100, 130, "over")
    assert (each.subjects[0].subject, each.subjects[0].spent_usd, each.subjects[0].left_usd) == (
        "u130",
        "0.00000104",
        "0.000000",
    )
    quiet, _ = await budgets.list(OTHER)
    assert (quiet.spent_usd, quiet.subject_count, quiet.state) == ("0.000000", 0, "active")


async def test_each_act_is_told_by_its_name(database: Database) -> None:
    """Stopping and resuming are acts of their own, and a new limit stands beside the one before."""
    budgets, acts = Budgets(database), Acts()
    made = await budgets.create(OPERATOR, NewBudget(limit_usd="1", window="hour"), acts)
    assert (await budgets.change(OPERATOR, made.id, BudgetChange(stopped=True), acts)).state == "stopped"
    await budgets.change(OPERATOR, made.id, BudgetChange(stopped=False), acts)
    assert (await budgets.change(OPERATOR, made.id, BudgetChange(limit_usd="0"), acts)).state == "exhausted"
    await budgets.delete(OPERATOR, made.id, acts)
    assert acts.told == [
        ("budget.create", {"scope": [], "limit_usd": "1"}),
        ("budget.stop", {}),
        ("budget.resume", {}),
        ("budget.change", {"limit_usd": "0", "was_limit_usd": "1.000000"}),
        ("budget.delete", {}),
    ]


def test_a_budget_is_named_as_its_refusals_name_it() -> None:
    """So that the traces of calls it refused can be found."""
    row = {"starts_us": 0, "ends_us": 1, "subject": None, "all_spent": None, "all_granted": None, "all_subjects": None}
    for terms, subject in ((POLICY[0], "u1"), (POLICY[0], ""), (POLICY[1], "")):
        assert view_of(terms, [row], "acme").describe(subject) == terms.describe(subject)


async def test_a_limit_in_another_currency_says_how_it_was_given(database: Database) -> None:
    """It is converted once, rounded down; a limit in dollars afterwards takes its place."""
    rates = TypeAdapter(DatedRates).validate_python({"usd": "1.0842", "valid_from": "2026-11-01"})
    budgets, acts = Budgets(database, currencies=lambda: Currencies({"EUR": rates})), Acts()
    made = await budgets.create(OPERATOR, NewBudget(limit="0.0000001 EUR"), acts)
    assert (made.limit_usd, made.limit_given) == ("0.000000108", "0.0000001 EUR, 1 EUR = 1.0842 USD since 2026-11-01")
    softer = await budgets.change(OPERATOR, made.id, BudgetChange(hard=False), acts)
    assert softer.limit_given == made.limit_given
    raised = await budgets.change(OPERATOR, made.id, BudgetChange(limit="2 EUR"), acts)
    assert (raised.limit_usd, raised.limit_given) == ("2.168400", "2 EUR, 1 EUR = 1.0842 USD since 2026-11-01")
    assert acts.told[-1] == ("budget.change", {"limit": raised.limit_given, "was_limit_usd": "0.000000108"})
    plain = await budgets.change(OPERATOR, made.id, BudgetChange(limit_usd="3"), acts)
    assert (plain.limit_usd, plain.limit_given) == ("3.000000", None)
    for wrong in (NewBudget(), NewBudget(limit="1 CHF"), NewBudget(limit=1, limit_usd=1), NewBudget(limit_usd="1 EUR")):
        with pytest.raises(InvalidRequest):
            await budgets.create(OPERATOR, wrong, acts)
