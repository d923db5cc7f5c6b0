"""Tests of a drill's figures and verdict: by runs that are made up, second by second."""

import msgspec

from backstay.core.money import NanoUSD
from backstay.drills.callers import Answered, Ending
from backstay.drills.figures import measure, measure_all, measure_outage
from backstay.drills.installation import Booked
from backstay.drills.load import Call, Run, Upstream, is_streamed
from backstay.drills.scenario import Scenario, parse_scenario
from backstay.drills.simulators import Counts
from backstay.drills.verdict import judge

SCENARIO = """
title   = "One that is made up."
seconds = 20
[targets.a]
[[targets.a.phases]]
after_s = 5
for_s   = 5
faults  = [{ kind = "reset" }]
[targets.b]
[[stretches]]
name    = "well"
from_s  = 0
until_s = 5
[[stretches]]
name    = "ill"
from_s  = 5
until_s = 10
expect  = { min_success_rate = 0.9, max_p99_ratio = 2, max_added_p99_ms = 10, max_upstream_ratio = 1.5 }
[[stretches]]
name    = "well again"
from_s  = 10
until_s = 20
[expect]
min_success_rate = 0.9
max_extra_ratio  = 1.1
max_recovery_s   = 5
max_disturbed_s  = 1
"""


def scenario() -> Scenario:
    return parse_scenario(SCENARIO, "made-up", "made-up.toml")


def made_up(*, bad: range = range(50, 52), back_at_s: float = 12.0) -> Run:
    """Ten calls a second for 20 s; tenths of a second in ``bad`` fail; from 5 s on ``b`` answers, then ``a`` again."""
    calls = [
        Call(at_s=n / 10, took_s=0.1, stream=False, answered=_answered("failed" if n in bad else "ok"))
        for n in range(200)
    ]
    upstream: list[Upstream] = []
    counts: Counts = {"a": {"answer": 0, "reset": 0}, "b": {"answer": 0}}
    for tenth in range(201):
        upstream.append(Upstream(at_s=tenth / 10, counts={name: dict(each) for name, each in counts.items()}))
        if tenth in bad:
            counts["a"]["reset"] += 1
        elif 50 <= tenth < back_at_s * 10:
            counts["b"]["answer"] += 1
        else:
            counts["a"]["answer"] += 1
    return Run(calls=calls, upstream=upstream)


def _answered(ending: Ending) -> Answered:
    return Answered(ending, detail="502 bad gateway 12345")


def test_figures_are_those_of_the_stretch() -> None:
    """Calls count by when they began, upstream calls by when they came; reasons leave numbers out."""
    run = made_up()
    well, ill = measure(run, 0, 5), measure(run, 5, 10)
    assert (well.calls, well.ok, well.upstream_calls, well.struck, well.extra_calls) == (50, 50, 50, 0, 0)
    assert (ill.calls, ill.ok, ill.success_rate) == (50, 48, 0.96)
    assert (ill.counts["a"], ill.struck) == ({"reset": 2}, 2)
    assert ill.reasons == {"failed: 502 bad gateway …": 2} or ill.reasons == {"failed: … bad gateway …": 2}
    assert measure_all(run).calls == 200


def test_recovery_lasts_until_the_target_is_used_again() -> None:
    """Callers were served well soon; the outage is over when the first target has its calls back."""
    outage = measure_outage(scenario(), made_up())
    assert outage.disturbed_s == 0.5
    assert outage.recovery_s is not None and 1.5 <= outage.recovery_s <= 2.2


def test_an_outage_that_is_not_over_has_no_recovery() -> None:
    """A target that never gets its calls back, and callers that fail to the end, are not recovered."""
    assert measure_outage(scenario(), made_up(back_at_s=20)).recovery_s is None
    assert measure_outage(scenario(), made_up(bad=range(50, 200))).recovery_s is None


def test_the_cost_of_an_outage_is_what_the_answers_would_not_have_cost() -> None:
    """Exact: the ledger's sum less the price of each good answer."""
    booked = Booked(calls=200, cost_nanousd=NanoUSD(200_123))
    outage = measure_outage(scenario(), made_up(), booked=booked, answer_nanousd=NanoUSD(1_000))
    assert outage.extra_cost_nanousd == 200_123 - 198 * 1_000


def test_the_verdict_follows_the_figures() -> None:
    """Each expectation is judged by itself; what could not be measured has not been met."""
    whole = scenario()

    def failed(run: Run, booked: Booked | None = None) -> list[tuple[str | None, str]]:
        stretches = [measure(run, stretch.from_s, stretch.until_s) for stretch in whole.stretches]
        outage = measure_outage(whole, run, booked=booked)
        checks = judge(whole, measure_all(run), stretches, outage)
        return [(check.stretch, check.what) for check in checks if not check.passed]

    assert failed(made_up()) == []
    assert failed(made_up(), Booked(calls=197)) == [(None, "booked_calls")]
    assert failed(made_up(bad=range(50, 60))) == [("ill", "success_rate")]
    assert failed(made_up(back_at_s=20)) == [(None, "recovery_s")]
    assert (None, "success_rate") in failed(made_up(bad=range(50, 150)))


def test_old_answers_are_judged_by_themselves() -> None:
    """Expired answers are no success; kept ones need not be in the ledger; what is given again must cost nothing."""
    whole = parse_scenario(
        SCENARIO.partition("[expect]")[0].replace(
            "min_success_rate = 0.9", "min_stale_rate = 0.04, min_answered_rate = 1"
        )
        + "[expect]\nmax_cost_ratio = 1",
        "made-up",
        "made-up.toml",
    )
    run = made_up()
    calls = [
        msgspec.structs.replace(
            call, answered=Answered("ok", is_kept=place == 0) if call.answered.ending == "ok" else old
        )
        for old in (Answered("stale"),)
        for place, call in enumerate(run.calls)
    ]
    run = msgspec.structs.replace(run, calls=calls)

    def failed(cost_nanousd: int, booked_calls: int) -> list[str]:
        stretches = [measure(run, stretch.from_s, stretch.until_s) for stretch in whole.stretches]
        booked = Booked(calls=booked_calls, cost_nanousd=NanoUSD(cost_nanousd))
        outage = measure_outage(whole, run, booked=booked, answer_nanousd=NanoUSD(1_000))
        return [check.what for check in judge(whole, measure_all(run), stretches, outage) if not check.passed]

    assert measure(run, 5, 10).success_rate == 0.96 and measure(run, 5, 10).stale_rate == 0.04
    assert failed(198_000, 197) == []
    assert failed(199_000, 196) == ["cost_ratio", "booked_calls"]


def test_streams_are_spread_evenly() -> None:
    """A share of 30 % is three of any ten calls in a row."""
    streamed = [is_streamed(number, 0.3) for number in range(100)]
    assert {sum(streamed[start : start + 10]) for start in range(90)} == {3}
    assert [is_streamed(number, 1.0) for number in range(3)] == [True] * 3
    assert not any(is_streamed(number, 0.0) for number in range(3))
