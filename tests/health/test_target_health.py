"""Tests of what a worker knows of a target: latencies, rate limits, retries, concurrency, readiness."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.rate_limit import RateLimit
from backstay.health.concurrency import ConcurrencyLimit
from backstay.health.fleet import MOST_UNNAMED, Fleet, RateLimits
from backstay.health.latency import Latencies
from backstay.health.quota import Quota, QuotaState
from backstay.health.retry_budget import RetryBudget
from backstay.health.target import TargetHealth, Trial


def learned(name: str = "a/b", *, took_s: float = 0.1) -> TargetHealth:
    """A target whose usual time is known."""
    health = TargetHealth(name)
    for number in range(40):
        health.end(health.begin(number, stream=False), number + took_s, "ok")
    return health


@given(st.lists(st.floats(0.001, 500.0), min_size=1, max_size=200))
def test_quantiles_are_off_by_an_eighth_at_most(seconds: list[float]) -> None:
    """A quantile lies within one bucket, a factor of 1.25, of an observation of that rank."""
    latencies = Latencies()
    for value in seconds:
        latencies.add(value)
    median = latencies.quantile(0.5)
    assert median is not None
    exact = sorted(seconds)[max(0, -(-len(seconds) // 2) - 1)]
    assert exact / 1.26 <= median <= exact * 1.26


def test_nothing_is_known_before_the_first() -> None:
    """Without observations there is no quantile, rather than 0."""
    assert Latencies().quantile(0.5) is None


def test_old_latencies_fade() -> None:
    """What a target is now counts more than what it was a thousand calls ago."""
    latencies = Latencies()
    for seconds in [1.0] * 2000 + [0.01] * 1000:
        latencies.add(seconds)
    median = latencies.quantile(0.5)
    assert median is not None and median < 0.02


def test_an_outage_earns_no_retries() -> None:
    """Without successes the budget is soon spent; with one success in two tries it never is."""
    budget = RetryBudget()
    spent = 0
    while budget.has_one():
        budget.spend()
        spent += 1
    assert spent == 10
    for _ in range(100):
        budget.earn()
        budget.earn()
        assert budget.has_one()
        budget.spend()


def test_a_target_that_answers_every_other_try_always_has_a_retry_left() -> None:
    """Where half of all tries fail, each success pays for the retry that it takes to come by it."""
    budget = RetryBudget()
    for _ in range(1_000):
        assert budget.has_one()
        budget.spend()
        budget.earn()


def test_overload_shrinks_the_limit_once_a_second_and_successes_grow_it() -> None:
    """A hundred refusals at one moment are one sign; used and successful, the limit comes back."""
    limit = ConcurrencyLimit()
    assert limit.limit is None and limit.has_room(10_000)
    for _ in range(100):
        limit.on_overload(10.0, 100)
    assert limit.limit == 70
    limit.on_overload(12.0, 60)
    assert limit.limit == 42
    for _ in range(100):
        limit.on_success(12.5, 42)
    assert limit.limit is not None and 43 <= limit.limit <= 45
    assert not limit.has_room(45)


def test_the_limit_never_falls_below_one_call() -> None:
    """A target that refuses everything is still asked now and then."""
    limit = ConcurrencyLimit()
    for second in range(50):
        limit.on_overload(float(2 * second), 1)
    assert limit.limit == 1 and limit.has_room(0)


def test_errors_that_have_nothing_to_do_with_room_do_not_take_it_away() -> None:
    """A target that fails four calls in ten at random keeps room for all that are open."""
    limit, chance = ConcurrencyLimit(), random.Random(7)
    refused = 0
    for number in range(4_000):
        now_s, level = number / 200, 1 + chance.randrange(20)
        refused += not limit.has_room(level - 1)
        if chance.random() < 0.4:
            limit.on_overload(now_s, level)
        else:
            limit.on_success(now_s, level)
    assert refused < 40


def test_a_target_that_takes_only_so_many_gets_only_so_many() -> None:
    """Where what is refused was begun with more open than what is answered, the limit finds that number."""
    limit = ConcurrencyLimit()
    for number in range(4_000):
        now_s, level = number / 200, 1 + number % 40
        if not limit.has_room(level - 1):
            continue
        if level > 12:
            limit.on_overload(now_s, level)
        else:
            limit.on_success(now_s, level)
    assert limit.limit is not None and 11 <= limit.limit <= 15


def test_a_stream_that_is_cut_says_nothing_about_room() -> None:
    """It was taken and answered; a probe that fails says nothing about it either."""
    health = TargetHealth("a/b")
    for number in range(3):
        trial = health.begin(number * 2.0, stream=True)
        health.first_piece(trial, number * 2.0 + 0.1)
        health.end(trial, number * 2.0 + 0.2, "unreachable")
    assert health.concurrency.limit is None
    health.breaker.open(10.0, "errors")
    health.end(health.begin(20.0, stream=False), 20.1, "overloaded")
    assert health.concurrency.limit is None


def test_headers_and_own_counts_tell_when_the_next_call_may_go() -> None:
    """With one request left, the second waits for the refill that the headers promise."""
    quota = Quota()
    assert quota.free_at_s(0.0, 1000) == 0.0
    quota.read(0.0, RateLimit(limit=60, remaining=1, reset_s=59.0), None)
    assert quota.free_at_s(0.0, 10) == 0.0
    quota.take(0.0, 10)
    assert quota.free_at_s(0.0, 10) == pytest.approx(1.0)
    assert quota.free_at_s(1.0, 10) == pytest.approx(1.0)


def test_tokens_are_limited_too() -> None:
    """A long prompt waits until there are tokens for it; one longer than the whole limit until it is full."""
    quota = Quota(tokens_per_min=6000)
    quota.take(0.0, 5000)
    assert quota.free_at_s(0.0, 1000) == 0.0
    assert quota.free_at_s(0.0, 2000) == pytest.approx(10.0)
    assert quota.free_at_s(0.0, 90_000) == pytest.approx(50.0)


def test_a_target_that_asks_for_calm_gets_it() -> None:
    """`retry-after` is obeyed by every call, not only by the one that was told."""
    health = TargetHealth("a/b")
    health.read_limits(100.0, retry_after_s=7.0)
    assert (health.availability(101.0).readiness, health.availability(101.0).free_at_s) == ("limited", 107.0)
    assert health.availability(107.0).readiness == "ready"


def test_calls_that_hang_are_known_before_their_time_outs() -> None:
    """A target that stops answering is slow as soon as its open calls are late, not when they end."""
    health = learned()
    trials = [health.begin(100.0, stream=False) for _ in range(12)]
    assert health.availability(100.3).readiness == "ready"
    assert health.availability(100.5).readiness == "slow"
    for trial in trials:
        health.end(trial, 103.0, "ok")
    assert health.in_flight == 0


def test_slowness_does_not_become_usual() -> None:
    """While it is known to be slow, its times don't count: so it is seen when it is fast again."""
    health = learned()
    for _ in range(12):
        health.begin(100.0, stream=False)
    assert health.availability(100.5).readiness == "slow"
    now_s = 110.0
    for _ in range(300):
        health.end(health.begin(now_s, stream=False), now_s + 2.0, "ok")
        now_s += 2.0
    limit_s = health.slow_after_s(stream=False)
    assert limit_s is not None and limit_s < 0.6


def test_a_stream_is_judged_by_its_first_token() -> None:
    """A long stream is not slow, and a probe is judged when it begins to speak."""
    health = TargetHealth("a/b")
    for number in range(40):
        trial = health.begin(number, stream=True)
        health.first_piece(trial, number + 0.1)
        health.end(trial, number + 300.0, "ok")
    trial = health.begin(1000.0, stream=True)
    health.first_piece(trial, 1000.1)
    assert health.availability(1200.0).readiness == "ready"
    health.breaker.open(1300.0, "errors")
    probe = health.begin(1310.0, stream=True)
    assert probe.is_probe and health.availability(1310.0).readiness == "open"
    health.first_piece(probe, 1310.1)
    assert health.availability(1310.2).readiness == "ready"


@pytest.mark.parametrize("outcome", ["callers", "limited"])
def test_what_is_not_the_targets_fault_does_not_count_against_it(outcome: str) -> None:
    """A bad request, a caller who leaves and a rate limit open no breaker."""
    health = TargetHealth("a/b")
    for number in range(100):
        health.end(health.begin(number * 5.0, stream=False), number * 5.0, outcome)  # pyright: ignore[reportArgumentType]
    assert health.breaker.state == "closed"


def test_a_probe_whose_caller_leaves_makes_room_for_another() -> None:
    """An abandoned probe says nothing, and holds up nobody."""
    health = TargetHealth("a/b")
    health.breaker.open(0.0, "errors")
    trial: Trial = health.begin(10.0, stream=False)
    assert trial.is_probe and health.availability(10.0).readiness == "open"
    health.end(trial, 11.0, "callers")
    assert health.availability(11.0).readiness == "ready"


def test_a_fleet_keeps_what_it_knows_when_the_policy_changes() -> None:
    """Changed limits begin anew; unchanged ones keep their counts; drained targets stay so."""
    fleet = Fleet()
    fleet.configure({"a/b": RateLimits(requests_per_min=60)})
    fleet.drain(["c/d"])
    for _ in range(60):
        fleet.of("a/b").begin(0.0, stream=False)
    assert fleet.of("a/b").availability(0.0).readiness == "limited"
    fleet.configure({"a/b": RateLimits(requests_per_min=60), "x/y": RateLimits(requests_per_min=1)})
    assert fleet.of("a/b").availability(0.0).readiness == "limited"
    fleet.configure({"a/b": RateLimits(requests_per_min=120)})
    assert fleet.of("a/b").availability(0.0).readiness == "ready"
    assert fleet.of("c/d").availability(0.0).readiness == "drained"
    fleet.drain([])
    assert fleet.of("c/d").availability(0.0).readiness == "ready"
    assert [state.target for state in fleet.states(0.0)] == ["a/b", "c/d"]


def test_workers_divide_what_the_operator_says_that_a_target_allows() -> None:
    """At first by how many there are, then by how many ask it; people see the whole limit."""
    fleet = Fleet(workers=3)
    fleet.configure({"a/b": RateLimits(requests_per_min=60, tokens_per_min=6000)})
    health = fleet.of("a/b")
    for _ in range(20):
        assert health.availability(0.0, 100).readiness == "ready"
        health.begin(0.0, stream=False, tokens=100)
    assert health.quota.free_at_s(0.0, 100) == pytest.approx(3.0)
    assert health.quota.requests(0.0) == QuotaState(limit=60, left=0)
    fleet.share({"other/x": 5}, 0.0)
    assert health.availability(0.0, 100).readiness == "limited"
    fleet.share({"other/x": 5}, 11.0)
    assert health.quota.requests(0.0) == QuotaState(limit=60, left=40)
    fleet.share({"a/b": 1}, 13.0)
    for _ in range(10):
        assert health.availability(0.0, 100).readiness == "ready"
        health.begin(0.0, stream=False, tokens=100)
    assert health.quota.free_at_s(0.0, 100) == pytest.approx(2.0)
    fleet.configure({"a/b": RateLimits(requests_per_min=20)})
    assert fleet.of("a/b").quota.requests(0.0) == QuotaState(limit=20, left=20)
    assert fleet.of("a/b").quota.free_at_s(0.0, 0) == 0.0


def test_what_a_target_tells_of_its_limits_is_not_divided() -> None:
    """Its headers count the calls of all workers."""
    fleet = Fleet(workers=2)
    fleet.configure({"a/b": RateLimits(requests_per_min=60)})
    health = fleet.of("a/b")
    health.read_limits(0.0, requests=RateLimit(limit=100, remaining=40, reset_s=60.0))
    fleet.share({"a/b": 3}, 0.0)
    assert health.quota.requests(0.0) == QuotaState(limit=100, left=40)


def test_targets_that_only_callers_name_are_forgotten_when_idle() -> None:
    """Whatever names are invented, few are remembered: the last used, those in use, and the policy's own."""
    fleet = Fleet()
    fleet.configure({"rated/x": RateLimits(requests_per_min=60)}, named=["mine/x"])
    for name in ("mine/x", "rated/x"):
        fleet.of(name)
    open_trial = fleet.of("asked/first").begin(1.0, stream=False)
    for number in range(3 * MOST_UNNAMED):
        health = fleet.of(f"asked/{number}")
        health.end(health.begin(2.0 + number, stream=False), 3.0 + number, "ok")
        assert fleet.of(f"asked/{number}") is health
    known = [target.name for target in fleet]
    assert len(known) == MOST_UNNAMED + 2
    last = [f"asked/{number}" for number in range(2 * MOST_UNNAMED + 1, 3 * MOST_UNNAMED)]
    assert known == ["mine/x", "rated/x", "asked/first", *last]
    fleet.of("asked/first").end(open_trial, 9.0, "ok")
    fleet.of("asked/new")
    assert "asked/first" not in [target.name for target in fleet]


def test_targets_in_use_are_never_forgotten() -> None:
    """Even when there are more of them than are remembered otherwise; they may go when they have ended."""
    fleet = Fleet()
    names = [f"asked/{number}" for number in range(MOST_UNNAMED + 5)]
    trials = [fleet.of(name).begin(1.0, stream=True) for name in names]
    assert sum(target.in_flight for target in fleet) == MOST_UNNAMED + 5
    for name, trial in zip(names, trials, strict=True):
        fleet.of(name).end(trial, 2.0, "ok")
    fleet.of("asked/new")
    assert len(list(fleet)) == MOST_UNNAMED
