"""Tests of the breaker: what opens it, what doesn't, and how it finds its way back."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backstay.health.breaker import Breaker, BreakerPolicy, Verdict, lower_bound

POLICY = BreakerPolicy()


def breaker() -> Breaker:
    return Breaker(chance=random.Random(1))


def feed(tested: Breaker, verdicts: list[Verdict], *, now_s: float = 0.0, gap_s: float = 0.01) -> int | None:
    """Feed outcomes, and return how many it took to open it."""
    for count, verdict in enumerate(verdicts, start=1):
        now_s += gap_s
        tested.end(now_s, verdict, probe=tested.begin(now_s))
        if tested.state != "closed":
            return count
    return None


def test_a_dead_target_is_left_alone_after_a_dozen_failures() -> None:
    """Errors that are answers open it once they are surely most."""
    assert feed(breaker(), ["failed"] * 50) == 11


def test_silence_takes_fewer_proofs() -> None:
    """A target that gives no answer at all is left alone after five tries, however rare they are."""
    assert feed(breaker(), ["unreachable"] * 50) == POLICY.unreachable_in_row
    assert feed(breaker(), ["unreachable"] * 50, gap_s=600.0) == POLICY.unreachable_in_row


def test_partial_failure_does_not_open_it() -> None:
    """A target that fails in 37 of 100 tries stays in use: 20,000 tries open it at most once or twice by chance."""
    chance, tested, opened = random.Random(5), breaker(), 0
    now_s = 0.0
    for _ in range(20_000):
        now_s += 0.01
        tested.end(now_s, "failed" if chance.random() < 0.37 else "ok", probe=tested.begin(now_s))
        if tested.state != "closed":
            opened += 1
            tested.close(now_s)
    assert opened <= 2


def test_errors_that_come_before_the_answers_of_the_others_do_not_open_it() -> None:
    """Of fifty calls begun at once twenty fail in no time: nobody knows yet how the other thirty end."""
    breaker = Breaker()
    for failed in range(20):
        breaker.end(0.0, "failed", probe=False, pending=49 - failed)
    assert breaker.state == "closed"
    for _ in range(6):
        breaker.end(0.1, "failed", probe=False, pending=0)
    assert breaker.state == "open"


def test_old_outcomes_are_forgotten() -> None:
    """Failures that are further apart than the window never add up."""
    assert feed(breaker(), ["failed"] * 50, gap_s=POLICY.window_s) is None


def test_failures_do_not_make_a_few_late_answers_slow() -> None:
    """A target that fails often, and of whose answers some are late, stays in use: not surely most of them are."""
    tested = breaker()
    verdicts: list[Verdict] = ["failed", "failed", "slow", "ok", "failed", "slow", "failed", "slow", "ok"]
    feed(tested, verdicts * 20)
    assert tested.state == "closed"


def test_mostly_slow_is_slow_not_down() -> None:
    """Slowness opens it with its own cause, so that a slow target can still be used where nothing else is there."""
    tested = breaker()
    assert feed(tested, ["slow"] * 50) == 11
    assert tested.cause == "slow"


def test_one_probe_at_a_time_finds_out_whether_it_is_well() -> None:
    """After its pause it lets one call through, and another only when that has ended; three good ones close it."""
    tested = breaker()
    tested.open(0.0, "errors")
    assert not tested.allows(0.5)
    for _ in range(POLICY.probes):
        assert tested.allows(2.0)
        assert tested.begin(2.0)
        assert not tested.allows(2.0)
        tested.end(2.1, "ok", probe=True)
    assert tested.state == "closed"


def test_failed_probes_make_the_pauses_longer_up_to_a_bound() -> None:
    """Each failed probe doubles the pause, to at most half a minute."""
    tested, now_s = breaker(), 0.0
    tested.open(now_s, "errors")
    pauses: list[float] = []
    for _ in range(10):
        pauses.append(tested.free_at_s() - now_s)
        now_s = tested.free_at_s()
        tested.begin(now_s)
        tested.end(now_s, "failed", probe=True)
    assert pauses[1] > pauses[0] and pauses[2] > pauses[1]
    assert max(pauses) <= POLICY.longest_open_s * 1.2


def test_a_peers_word_is_checked_at_once() -> None:
    """What another worker found out makes this one ask once, not stop."""
    tested = breaker()
    tested.open(5.0, "peer")
    assert tested.allows(5.0) and tested.begin(5.0) and not tested.allows(5.0)


@pytest.mark.parametrize(("hits", "total", "expected"), [(0, 0, 0.0), (10, 10, 0.7225), (5, 10, 0.2366)])
def test_the_interval_is_wilsons(hits: int, total: int, expected: float) -> None:
    """The lower bound agrees with values of the published formula at z = 1.96."""
    assert lower_bound(hits, total, 1.96) == pytest.approx(expected, abs=5e-4)


class BreakerLife(RuleBasedStateMachine):
    """Calls begin and end in any order, at any time, with any outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.tested = Breaker(chance=random.Random(0))
        self.now_s = 0.0
        self.running: list[bool] = []

    @rule(passed_s=st.floats(0.0, 40.0))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule()
    def call_begins(self) -> None:
        if self.tested.allows(self.now_s):
            self.running.append(self.tested.begin(self.now_s))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), verdict=st.sampled_from(["ok", "failed", "unreachable", "slow"]))
    def call_ends(self, data: st.DataObject, verdict: Verdict) -> None:
        probe = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.tested.end(self.now_s, verdict, probe=probe)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def caller_leaves(self, data: st.DataObject) -> None:
        self.tested.forget(probe=self.running.pop(data.draw(st.integers(0, len(self.running) - 1))))

    @rule()
    def peer_speaks(self) -> None:
        if self.tested.state == "closed":
            self.tested.open(self.now_s, "peer")

    @invariant()
    def at_most_one_probe_runs(self) -> None:
        assert sum(self.running) <= 1

    @invariant()
    def it_never_stays_shut(self) -> None:
        """With no probe under way, a call is let through after the longest pause."""
        if not any(self.running):
            assert self.tested.allows(self.now_s + 1.2 * POLICY.longest_open_s)


TestBreakerLife = BreakerLife.TestCase
TestBreakerLife.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
