"""Tests of what workers' reports come to together, and of the counts behind them."""

import datetime as dt
import random
from typing import Any

from backstay.health import Drain, Fleet, Report
from backstay.health.figures import watch
from backstay.health.latency import Latencies, quantile_of
from backstay.health.recent import Recent
from backstay.health.summary import summarise
from backstay.health.target import LastError, TargetHealth

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


def report(health: TargetHealth, now_s: float, *, worker: str = "w", age_s: float = 0.0) -> Report:
    return Report(worker=worker, age_s=age_s, state=health.state(now_s))


def tried(health: TargetHealth, outcome: Any, times: int = 1, *, at_s: float = 100.0, took_s: float = 0.2) -> None:
    for _ in range(times):
        error = LastError(fault="overloaded", http_status=503) if outcome != "ok" else None
        health.end(health.begin(at_s, stream=False), at_s + took_s, outcome, error)


def test_the_worst_worker_says_how_a_target_stands() -> None:
    """Down at one of two: it is left alone since that one's breaker opened, with its cause and last error."""
    ill, well, other = TargetHealth("a/x"), TargetHealth("a/x"), TargetHealth("b/y")
    tried(ill, "ok", 5)
    tried(ill, "failed", 30)
    tried(well, "ok", 10)
    tried(other, "ok", 45)
    known = summarise([report(ill, 110.0, age_s=2.0), report(well, 110.0), report(other, 110.0)], [], NOW)
    summary = known["a/x"]
    assert (summary.standing, summary.breaker, summary.cause) == ("open", "open", "errors")
    assert (summary.workers, summary.ill_workers, summary.openings) == (2, 1, 1)
    assert summary.ill_since is not None
    assert abs((NOW - summary.ill_since).total_seconds() - (110 - 100.2 + 2)) < 0.01
    assert summary.last_error == LastError(fault="overloaded", http_status=503)
    assert (summary.tries, summary.failures, summary.error_share) == (45, 30, 30 / 45)
    assert (summary.share, known["b/y"].share) == (0.5, 0.5)
    assert known["b/y"].standing == "ready"


def test_what_is_drained_is_told_even_if_nobody_asked_it() -> None:
    """It has no figures, and the drain with who did it."""
    drain = Drain(target="a/x", by="ops", at=NOW)
    summary = summarise([], [drain], NOW)["a/x"]
    assert (summary.standing, summary.drain, summary.workers, summary.share) == ("drained", drain, 0, None)
    assert summary.p50_s is summary.breaker is None


def test_a_callers_own_fault_is_no_failure_of_the_target() -> None:
    """It counts as a try that ended, not among the figures of the target's health."""
    health = TargetHealth("a/x")
    tried(health, "callers", 7)
    tried(health, "ok")
    assert health.ended == {"callers": 7, "ok": 1}
    assert (health.state(110.0).recent_tries, health.last_error) == (1, None)


def test_tries_of_more_than_five_minutes_ago_are_forgotten() -> None:
    """Whatever the times, what is counted is what ended in the last five minutes, to a slot."""
    chance, recent, now_s = random.Random(5), Recent(), 0.0
    ended: list[float] = []
    for _ in range(2_000):
        now_s += chance.choice([0.0, 0.3, 2.0, 20.0, 400.0 * (chance.random() < 0.05)])
        recent.add(now_s, failed=len(ended) % 3 == 0)
        ended.append(now_s)
        tries, failures = recent.counts(now_s)
        assert sum(at > now_s - 285 for at in ended) <= tries <= sum(at > now_s - 300 for at in ended)
        assert 0 <= failures <= tries
    assert recent.counts(now_s + 301) == (0, 0)


def test_latencies_of_workers_add_up() -> None:
    """The median over two workers is that of all their observations, not the mean of two medians."""
    one, two = Latencies(), Latencies()
    for _ in range(90):
        one.add(0.1)
    for _ in range(10):
        two.add(10.0)
    together = [one.counts(), two.counts()]
    assert quantile_of(together, 0.5) == one.quantile(0.5)
    assert quantile_of(together, 0.95) == two.quantile(0.5)
    assert quantile_of([], 0.5) is None


def test_every_figure_is_named_by_target() -> None:
    """A target that is asked later than the figures were set up has all of them, one series a breaker's state."""
    fleet, families = Fleet(), dict[str, Any]()
    watch(fleet, lambda name, help, kind, read: families.__setitem__(name, (kind, read)))
    assert all(list(read()) == [] for _, read in families.values())
    health = fleet.of("a/x")
    health.end(health.begin(1.0, stream=False, reason="fallback"), 2.0, "overloaded")
    health.begin(3.0, stream=False, reason="retry")
    assert fleet.hedges_of("m").take()
    fleet.hedges_of("m").end("won")
    read = {name: list(values()) for name, (_, values) in families.items()}
    target = {"target": "a/x"}
    assert read["backstay_target_tries_total"] == [
        ({**target, "reason": "fallback"}, 1), ({**target, "reason": "retry"}, 1),
    ]  # fmt: skip
    assert read["backstay_target_outcomes_total"] == [({**target, "outcome": "overloaded"}, 1)]
    assert read["backstay_hedges_started_total"] == [({"model": "m"}, 1)]
    assert read["backstay_hedges_ended_total"] == [({"model": "m", "end": "won"}, 1)]
    assert read["backstay_target_in_flight"] == [(target, 1)]
    assert read["backstay_target_concurrency_limit"] == [(target, 1)]
    states = {labels["state"]: value for labels, value in read["backstay_target_breakers"]}
    assert states == {"closed": True, "open": False, "half_open": False}
    assert all(name.endswith("_total") == (kind == "counter") for name, (kind, _) in families.items())
