"""``[alerts.NAME]`` and ``[alert_channels.NAME]``: what is refused and where, and who is told by which rule."""

from decimal import Decimal
from pathlib import Path

import pytest

from backstay.alerts import AlertConfig, AlertRules
from backstay.core.errors import ConfigError
from backstay.policy import load_policy

_GOOD = """
[alert_channels.ops]
kind = "slack"
url = "env:SLACK_URL"

[alert_channels.pager]
kind = "webhook"
url = "https://pager.example.com"
secret = "file:/run/secrets/pager"

[alerts.money]
budget_share = [0.5, 0.8, 1.0]
on = ["loop"]
channels = ["ops", "pager"]
"""


def test_a_policy_has_rules_and_channels(tmp_path: Path) -> None:
    """As they are written."""
    file = tmp_path / "backstay.toml"
    file.write_text(_GOOD)
    policy = load_policy(file, {})
    assert policy.alerts["money"].budget_share == [Decimal("0.5"), Decimal("0.8"), Decimal("1.0")]
    assert set(policy.alert_channels) == {"ops", "pager"}


@pytest.mark.parametrize(
    ("before", "after", "line", "sentence"),
    [
        ('"env:SLACK_URL"', '"https://hooks.slack.com/services/canary"', 2, "who knows it may post"),
        ('"file:/run/secrets/pager"', '"whsec_canary"', 9, "so that no credential stands here"),
        ('secret = "file:/run/secrets/pager"', "", 6, "a channel of kind 'webhook' needs `secret`"),
        (
            'url = "env:SLACK_URL"',
            'url = "env:A"\nto = ["a@example.org"]',
            2,
            "`to` is not for a channel of kind 'slack'",
        ),
        ('kind = "slack"', 'kind = "teams"', 3, "alert_channels.ops.kind"),
        ("[0.5, 0.8, 1.0]", "[0.8, 0.5]", 12, "from the lowest on"),
        ("[0.5, 0.8, 1.0]", "[0]", 12, "alerts.money.budget_share"),
        ('["loop"]', '["budget_share"]', 11, "budget_share is a field of its own"),
        ('["loop"]', '["lop"]', 13, "alerts.money.on"),
        ('["ops", "pager"]', '["opps"]', 14, "there is no [alert_channels.opps]. There are: ops, pager."),
        ('budget_share = [0.5, 0.8, 1.0]\non = ["loop"]\n', "", 11, "it needs `budget_share` or `on`"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, before: str, after: str, line: int, sentence: str) -> None:
    """And a credential that stands in the file is not repeated."""
    assert before in _GOOD
    file = tmp_path / "backstay.toml"
    file.write_text(_GOOD.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        load_policy(file, {})
    assert sentence in str(caught.value) and "canary" not in str(caught.value)
    assert caught.value.line == line


def test_rules_together_say_who_is_told() -> None:
    """Patterns fit names, ids or scopes; the channels of several rules are joined; tenants are picked."""
    rules = AlertRules(
        {
            "all": AlertConfig(budget_share=[Decimal("0.8")], on=["loop"], channels=["a"]),
            "chat": AlertConfig(
                budget_share=[Decimal("0.5"), Decimal("0.80")],
                budgets=["feature:ch*"],
                margin=Decimal("0.1"),
                channels=["b", "a"],
            ),
            "acme": AlertConfig(on=["loop"], channels=["c"], tenants=["acme"]),
        }
    )
    bounds = rules.bounds_of("acme", ("bud_1", "feature:chat"))
    assert [(str(each.share), str(each.margin), each.channels) for each in bounds] == [
        ("0.5", "0.1", ("b", "a")), ("0.8", "0.1", ("a", "b")),
    ]  # fmt: skip
    assert [each.channels for each in rules.bounds_of("acme", ("bud_1", "feature:other"))] == [("a",)]
    assert (rules.channels_of("acme", "loop"), rules.channels_of("other", "loop")) == (["a", "c"], ["a"])
    assert rules.lowest_share == Decimal("0.5") and not rules.asks_for("target_down")
