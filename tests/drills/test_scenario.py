"""Tests of scenario files: what is wrong is told with its line, and the built-in ones are right."""

from pathlib import Path

import pytest

from backstay.core.errors import ConfigError, NotFound
from backstay.drills import built_in, find_scenario
from backstay.drills.private import policy_text
from backstay.drills.scenario import parse_scenario
from backstay.policy import load_policy

GOOD = """\
title   = "A short one."
seconds = 10

[targets.primary]
latency_s = 0.05

[[targets.primary.phases]]
after_s = 4
for_s   = 2
faults  = [{ kind = "reset" }]

[[events]]
at_s = 6
do   = "kill_worker"

[[stretches]]
name    = "well"
from_s  = 0
until_s = 4

[[stretches]]
name    = "ill"
from_s  = 4
until_s = 10
expect  = { min_success_rate = 0.5 }

[expect]
max_recovery_s = 3
"""
NAMES = {
    "provider-down", "total-outage", "slow-first-token", "429-storm", "brownout", "cut-streams", "postgres-down",
    "worker-killed", "stale-answers", "budget-outage", "budget-freeze",
}  # fmt: skip


def test_every_built_in_drill_is_there_and_as_long_as_it_should_be() -> None:
    """They take 20 to 45 seconds, but for those that take Postgres away for five minutes; quick ones up to ten."""
    known = built_in()
    assert set(known) == NAMES
    long = {name for name, each in known.items() if not 20 <= each.seconds <= 45}
    assert long == {"budget-outage", "budget-freeze"}
    assert {until_s - from_s for name in long for from_s, until_s in known[name].outages()} == {300}
    assert {name: each.quick_s for name, each in known.items() if each.quick_s > 10} == {}
    assert all(each.troubles() for each in known.values())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_policy_of_a_built_in_drill_is_one(name: str, tmp_path: Path) -> None:
    """What a private instance is given is a `backstay.toml` that would be taken, with the route's own settings."""
    scenario = built_in()[name]
    file = tmp_path / "backstay.toml"
    file.write_text(policy_text(scenario, dict.fromkeys(scenario.targets, "http://127.0.0.1:1")))
    model = load_policy(file, {}).models["drill"]
    assert [share.target for share in model.targets] == [f"{target}/gpt-4o-mini" for target in scenario.targets]
    assert model.on_broken_stream == scenario.route.on_broken_stream
    assert model.degraded == scenario.route.degraded


@pytest.mark.parametrize(
    ("written", "wrong", "line", "words"),
    [
        ("seconds = 10", "seconds = -1", 2, "seconds"),
        ("latency_s = 0.05", "latency = 0.05", 5, "targets.primary.latency: there is no such setting"),
        ("for_s   = 2", "for_s   = 0", 9, "targets.primary.phases.0.for_s"),
        ('do   = "kill_worker"', 'do   = "dance"', 14, "events.0.do"),
        ("from_s  = 4", 'from_s  = "four"', 23, "stretches.1.from_s"),
        ("[expect]", "[budget]\nlimit_usd = -1\n[expect]", 28, "budget.limit_usd"),
        ("[expect]", "[budget]\nlimit_usd = nan\n[expect]", 28, "budget.limit_usd"),
        ("max_recovery_s = 3", "max_recovery = 3", 28, "expect.max_recovery: there is no such setting"),
        ('title   = "A short one."', "title   = A", 1, "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(written: str, wrong: str, line: int, words: str) -> None:
    """The first thing that is wrong is named, with the file and the line that it stands on."""
    with pytest.raises(ConfigError) as refused:
        parse_scenario(GOOD.replace(written, wrong), "mine", "mine.toml")
    assert (refused.value.file, refused.value.line) == ("mine.toml", line)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("written", "wrong", "words"),
    [
        ("until_s = 10", "until_s = 11", "'ill' must begin before it ends, within 10 s"),
        ("at_s = 6", "at_s = 60", "an event is after the end"),
        ("seconds = 10", "seconds = 10\nquick_s = 20", "quick_s is longer than seconds"),
        ("[expect]", "[budget]\nlimit_usd = 1\n[expect]", "load.streamed = 0"),
        ("[expect]", "[load]\nstreamed = 0\n[budget]\nlimit_usd = 1\n[expect]", "takes Postgres away"),
        ("[expect]", "[route]\ntargets = ['other/x']\n[expect]", "there is no target 'other/x'"),
    ],
)
def test_what_does_not_fit_together_is_refused(written: str, wrong: str, words: str) -> None:
    """Times outside the drill and targets that are not there are told by name."""
    with pytest.raises(ConfigError, match=words):
        parse_scenario(GOOD.replace(written, wrong), "mine", "mine.toml")


def test_a_shortened_drill_keeps_its_shape() -> None:
    """All times shrink alike, and recovery, which does not, is not judged."""
    scenario = parse_scenario(GOOD.replace("seconds = 10", "seconds = 10\nquick_s = 5"), "mine", "mine.toml")
    quick = scenario.shortened()
    assert scenario.troubles() == [(4, 6), (6, 6)]
    assert quick.troubles() == [(2, 3), (3, 3)]
    assert (quick.seconds, quick.stretches[1].from_s, quick.stretches[1].until_s) == (5, 2, 5)
    assert quick.stretches[1].expect.min_success_rate == 0.5
    assert (scenario.expect.max_recovery_s, quick.expect.max_recovery_s) == (3, None)


def test_a_drill_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    """A misspelt name and a missing file are told apart."""
    with pytest.raises(NotFound, match="provider-down"):
        find_scenario("provider-up")
    with pytest.raises(NotFound, match="backstay drill list"):
        find_scenario(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(GOOD)
    assert find_scenario(str(tmp_path / "mine.toml")).name == "mine"
