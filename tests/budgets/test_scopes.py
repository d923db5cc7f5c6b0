"""Tests of which budgets a call touches, and of what `[budgets.NAME]` takes."""

from typing import Any

import pytest
from pydantic import ValidationError

from backstay.budgets import BudgetConfig, Subject, Terms
from backstay.budgets.scopes import BudgetRules, parse_scope
from backstay.core.money import NanoUSD

CALL = Subject(tenant_id="acme", key="key_1", user="u1", feature="chat", model="fast", tags=("a", "b", "a"))


def budget(id: str, *scope: str, tenant_id: str | None = None, **more: Any) -> Terms:
    parts = tuple(sorted(parse_scope(part) for part in scope))
    return Terms(tenant_id=tenant_id, id=id, scope=parts, limit=NanoUSD(1), span="day", **more)


def test_a_call_touches_the_budgets_that_it_fits_the_widest_first() -> None:
    """All of a scope must fit; a budget of another tenant never does; each tag counts once."""
    rules = BudgetRules(
        [
            budget("both", "feature:chat", "user:u1"),
            budget("other", "feature:chat", "user:u2"),
            budget("all"),
            budget("ours", "tag:b", tenant_id="acme"),
            budget("theirs", tenant_id="umbrella"),
            budget("each-tag", per="tag"),
            budget("each-user-here", "feature:chat", per="user"),
        ]
    )
    found = [(terms.id, subject) for terms, subject in rules.of(CALL)]
    assert found == [
        ("all", ""), ("each-tag", "a"), ("each-tag", "b"), ("ours", ""), ("both", ""), ("each-user-here", "u1")
    ]  # fmt: skip


def test_who_has_no_user_has_no_part_of_a_budget_of_each_user() -> None:
    """It counts for nobody."""
    assert BudgetRules([budget("each", per="user")]).of(Subject(tenant_id="acme")) == []


def test_names_that_postgres_cannot_hold_stand_there_by_their_hash() -> None:
    """Callers may say anything of their user."""
    ((_, subject),) = BudgetRules([budget("each", per="user")]).of(Subject(tenant_id="acme", user="\x00" * 5000))
    assert subject.startswith("sha256-") and len(subject) == 71


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"limit_usd": -1}, "greater than or equal to 0"),
        ({"limit_usd": "NaN"}, "finite"),
        ({"limit_usd": "0.0000000001"}, "nine decimal places"),
        ({"limit_usd": "1e-999999999"}, "nine decimal places"),
        ({"limit_usd": "1e999999"}, "less than or equal"),
        ({"limit_usd": "Infinity"}, "finite"),
        ({"limit_usd": 1, "wait_s": float("nan")}, "wait_s"),
        ({"limit_usd": 1, "scope": ["planet:x"]}, "no scope"),
        ({"limit_usd": 1, "time_zone": "Mars/Olympus"}, "no time zone"),
        ({"limit_usd": 1, "window": "lifetime", "rollover": True}, "no next window"),
        ({"limit_usd": 1, "window": "fortnight"}, "lifetime"),
        ({"limit_usd": 1, "currency": "EUR"}, "Extra inputs"),
    ],
)
def test_a_wrong_budget_is_refused(config: dict[str, Any], message: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValidationError, match=message):
        BudgetConfig.model_validate(config)


def test_amounts_are_exact() -> None:
    """As they are written, to the nano-dollar."""
    assert BudgetConfig.model_validate({"limit_usd": "0.123456789"}).terms("x").limit == 123_456_789
