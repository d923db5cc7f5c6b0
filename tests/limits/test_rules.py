"""Which limits apply: the nearest entry of each scope, and the key's own figures over those of the policy."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from backstay.core.caller import Caller, CallLimits
from backstay.core.errors import ConfigError
from backstay.limits import LimitConfig, LimitRules
from backstay.policy import load_policy


def caller(**more: Any) -> Caller:
    bot = Caller(tenant_id="acme", kind="key", id="key_1", name="bot", rights=frozenset({"call"}))
    return msgspec.structs.replace(bot, **more)


def rules(*entries: dict[str, Any]) -> LimitRules:
    return LimitRules([LimitConfig.model_validate(entry) for entry in entries])


def found(rules: LimitRules, caller: Caller, user: str | None = None, feature: str | None = None) -> dict[str, int]:
    return {f"{id.kind} {id.name} {id.meter}": limit for id, limit in rules.of(caller, user, feature)}


def test_each_scope_is_counted_by_itself() -> None:
    """A call is held to the limits of its key, tenant, user and feature, where it has them."""
    all_four = rules(
        {"scope": "key", "requests_per_min": 1, "tokens_per_min": 10},
        {"scope": "tenant", "requests_per_min": 2},
        {"scope": "user", "requests_per_min": 3},
        {"scope": "feature", "concurrency": 4},
    )
    assert found(all_four, caller(), "ada", "search") == {
        "key key_1 requests": 1,
        "key key_1 tokens": 10,
        "tenant acme requests": 2,
        "user ada requests": 3,
        "feature search concurrency": 4,
    }
    assert found(all_four, caller(kind="person", id="per_1")) == {"tenant acme requests": 2}


def test_a_name_is_nearer_than_a_pattern_and_a_pattern_than_none() -> None:
    """The order of the entries does not matter, but among equals: there the last counts."""
    users = rules(
        {"scope": "user", "name": "ada", "requests_per_min": 9},
        {"scope": "user", "match": "a*", "requests_per_min": 5},
        {"scope": "user", "match": "*n*", "requests_per_min": 6},
        {"scope": "user", "requests_per_min": 1},
    )
    for user, limit in (("ada", 9), ("abe", 5), ("ann", 6), ("bob", 1)):
        assert found(users, caller(), user) == {f"user {user} requests": limit}


def test_an_entry_without_figures_lifts_the_limit() -> None:
    """An exception may say that there is no limit for one."""
    lifted = rules({"scope": "key", "requests_per_min": 1}, {"scope": "key", "name": "bot"})
    assert found(lifted, caller()) == {}
    assert found(lifted, caller(name="other")) == {"key key_1 requests": 1}


def test_a_keys_own_limits_stand_over_the_policys() -> None:
    """Each figure by itself."""
    policy = rules({"scope": "key", "requests_per_min": 1, "tokens_per_min": 10})
    own = caller(limits=CallLimits(requests_per_min=7, concurrency=2))
    assert found(policy, own) == {"key key_1 requests": 7, "key key_1 tokens": 10, "key key_1 concurrency": 2}
    assert found(rules(), own) == {"key key_1 requests": 7, "key key_1 concurrency": 2}


@pytest.mark.parametrize("user", ["x" * 5000, "nul\0", "two\nlines"])
def test_a_strange_user_is_counted_by_a_hash(user: str) -> None:
    """Whatever a caller calls its user, the book can hold it, and two of them are two."""
    users = rules({"scope": "user", "requests_per_min": 1})
    ((id, _),) = users.of(caller(), user, None)
    ((other, _),) = users.of(caller(), user + "x", None)
    assert id.name.isprintable() and len(id.name) < 100 and id != other


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('scope = "key"', "limits nothing"),
        ('scope = "key"\nname = "a"\nmatch = "b"\nconcurrency = 1', "exclude each other"),
        ('scope = "team"\nconcurrency = 1', "'key', 'user', 'tenant' or 'feature'"),
        ('scope = "key"\nrequests_per_min = 0', "greater than or equal to 1"),
        ('scope = "key"\nrequests_per_hour = 5', "no such setting"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line(tmp_path: Path, entry: str, reason: str) -> None:
    """A policy with a limit that means nothing is not put in force."""
    file = tmp_path / "backstay.toml"
    file.write_text(f"[[limits]]\n{entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_policy(file, {})
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")
