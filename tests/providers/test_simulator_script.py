"""The simulator's script: what is drawn, what applies when, and what is refused."""

import random
import statistics
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.errors import ConfigError
from backstay.providers.simulator import read_script
from backstay.providers.simulator.script import Behaviour, Distribution, Lognormal, draw


def _draws(distribution: Distribution, count: int = 4000) -> list[float]:
    chance = random.Random(7)
    return [draw(distribution, chance) for _ in range(count)]


def _latency(source: object) -> Distribution:
    return Behaviour.model_validate({"latency_s": source}).latency_s


def test_a_constant_is_always_the_same() -> None:
    """A number is drawn as itself."""
    assert set(_draws(_latency(0.25), 10)) == {0.25}


def test_uniform_stays_between_its_bounds() -> None:
    """Every draw lies between low and high, and both ends are reached nearly."""
    drawn = _draws(_latency({"low": 1.0, "high": 3.0}))
    assert 1.0 <= min(drawn) < 1.01
    assert 2.99 < max(drawn) <= 3.0


def test_lognormal_has_the_percentiles_it_was_given() -> None:
    """Half of the draws lie below p50 and 5 % above p95."""
    drawn = statistics.quantiles(_draws(_latency({"p50": 0.8, "p95": 2.4}), 20_000), n=100)
    assert drawn[49] == pytest.approx(0.8, rel=0.03)  # pyright: ignore[reportUnknownMemberType]
    assert drawn[94] == pytest.approx(2.4, rel=0.05)  # pyright: ignore[reportUnknownMemberType]


def test_a_histogram_follows_its_weights() -> None:
    """Each bucket gets its share, and a bucket of weight 0 gets nothing."""
    drawn = _draws(_latency({"histogram": [[0.1, 3], [0.5, 0], [2.0, 1]]}))
    assert sum(value <= 0.1 for value in drawn) / len(drawn) == pytest.approx(0.75, abs=0.03)  # pyright: ignore[reportUnknownMemberType]
    assert [value for value in drawn if 0.1 < value < 0.5] == []
    assert max(drawn) <= 2.0


@given(st.floats(0.001, 10), st.floats(1, 20), st.integers())
def test_no_distribution_draws_below_zero(p50: float, factor: float, seed: int) -> None:
    """A lognormal wait is positive, whatever its percentiles."""
    assert Lognormal(p50=p50, p95=p50 * factor).draw(random.Random(seed)) > 0


SCRIPT = """
latency_s = 0.1
tokens_per_second = { low = 40, high = 60 }

[[faults]]
kind = "status"
status = 429
rate = 0.25
retry_after_s = 2

[models.slow]
latency_s = { p50 = 1.0, p95 = 4.0 }

[[phases]]
after_s = 10
for_s = 30
faults = [{ kind = "reset" }]
"""


def test_a_model_and_a_phase_change_only_what_they_name() -> None:
    """The model's latency and the phase's faults replace those of the script; all else stays."""
    script = read_script(tomllib.loads(SCRIPT))
    assert script.behaviour("fast", 0.0).latency_s == 0.1
    assert script.behaviour("slow", 0.0).latency_s == Lognormal(p50=1.0, p95=4.0)
    outage = script.behaviour("slow", 10.0)
    assert [fault.kind for fault in outage.faults] == ["reset"]
    assert outage.latency_s == Lognormal(p50=1.0, p95=4.0)
    assert outage.tokens_per_second == script.tokens_per_second


@pytest.mark.parametrize(("elapsed_s", "kind"), [(9.9, "status"), (10.0, "reset"), (39.9, "reset"), (40.0, "status")])
def test_a_phase_begins_and_ends_on_time(elapsed_s: float, kind: str) -> None:
    """A phase covers its first instant and not its last."""
    faults = read_script(tomllib.loads(SCRIPT)).behaviour("fast", elapsed_s).faults
    assert [fault.kind for fault in faults] == [kind]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"latencys": 1}, "latencys"),
        ({"latency_s": -1}, "latency_s"),
        ({"latency_s": {"low": 2, "high": 1}}, "low must not be above high"),
        ({"latency_s": {"p50": 2, "p95": 1}}, "p50 must not be above p95"),
        ({"latency_s": {"histogram": [[2, 1], [1, 1]]}}, "must rise"),
        ({"latency_s": {"histogram": [[1, 0]]}}, "weight above 0"),
        ({"faults": [{"kind": "explode"}]}, "faults.0.kind"),
        ({"faults": [{"kind": "cut", "rate": 0.6}, {"kind": "hang", "rate": 0.6}]}, "add up to 1.2"),
        ({"phases": [{"after_s": 1, "for_s": 0}]}, "phases.0.for_s"),
        ({"models": {"m": {"tool_calls": -1}}}, "models.m.tool_calls"),
    ],
)
def test_a_wrong_script_is_refused_with_its_place(source: dict[str, object], complaint: str) -> None:
    """The message names the field and what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        read_script(source)
    assert complaint in caught.value.message
