"""Lines at targets as a pure core: a bound, turns by priority and tenant, and places that are kept."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backstay.core.caller import Priority
from backstay.gateway.lines import Lines, Waiter

MOST = 6
TARGETS = ["x", "y", "z"]
SOME_TARGETS = st.sets(st.sampled_from(TARGETS), min_size=1).map(frozenset)
TENANTS = st.sampled_from(["acme", "bolt", "cask"])
PRIORITY: st.SearchStrategy[Priority] = st.sampled_from(["interactive", "batch"])


class Crowd(RuleBasedStateMachine):
    """Calls come, stand elsewhere, are sent and give up in any order; those that wait are written down beside."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = Lines(MOST)
        self.standing: dict[str, list[Waiter]] = {target: [] for target in TARGETS}
        """By target, in the order in which they came there."""
        self.passed: dict[tuple[str, Waiter], set[str]] = {}
        """For each that waits at a target: tenants of its priority sent there since it was its tenant's first."""

    @property
    def waiting(self) -> list[Waiter]:
        return list(dict.fromkeys(each for waiters in self.standing.values() for each in waiters))

    @rule(tenant=TENANTS, priority=PRIORITY, at=SOME_TARGETS)
    def come(self, tenant: str, priority: Priority, at: frozenset[str]) -> None:
        newcomer, before = Waiter(tenant_id=tenant, priority=priority), self.waiting
        gone = self.lines.who_goes(newcomer)
        assert (gone is None) == (len(before) < MOST)
        if gone is not None:
            self.check_who_goes(newcomer, gone, before)
            self.leave(gone)
        if gone is not newcomer:
            self.stand(newcomer, at)

    def check_who_goes(self, newcomer: Waiter, gone: Waiter, before: Sequence[Waiter]) -> None:
        batch = [each for each in before if each.priority == "batch"]
        if newcomer.priority == "interactive" and batch:
            assert gone.priority == "batch"
        elif newcomer.priority == "batch" and not batch:
            assert gone is newcomer
        equals = [each for each in before if each.priority == gone.priority]
        if gone is not newcomer:
            peers = [each for each in equals if each.tenant_id == gone.tenant_id]
            assert all(len(peers) >= sum(other.tenant_id == each.tenant_id for other in equals) for each in equals)
        elif len(equals) == MOST:
            mine = sum(each.tenant_id == newcomer.tenant_id for each in equals)
            assert all(sum(other.tenant_id == each.tenant_id for other in equals) <= mine + 1 for each in equals)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), at=SOME_TARGETS)
    def stand_elsewhere(self, data: st.DataObject, at: frozenset[str]) -> None:
        self.stand(data.draw(st.sampled_from(self.waiting)), at)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), times=st.integers(1, 2))
    def give_up(self, data: st.DataObject, times: int) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        firsts = {target for target in TARGETS if self.lines.first(target) is waiter}
        assert set(self.lines.leave(waiter)) == firsts
        for _ in range(times):
            self.leave(waiter)

    @rule(at=st.sampled_from(TARGETS))
    def send(self, at: str) -> None:
        """Whose turn it is goes: interactive before batch, first of its tenant, no tenant twice while others wait."""
        first = self.lines.first(at)
        waiters = self.standing[at]
        assert (first is None) == (not waiters)
        if first is None:
            return
        assert first.priority == "interactive" or all(each.priority == "batch" for each in waiters)
        assert next(each for each in waiters if peers(each, first)) is first
        for other in waiters:
            is_first = next(each for each in waiters if peers(each, other)) is other
            if is_first and other.priority == first.priority and other.tenant_id != first.tenant_id:
                passed = self.passed.setdefault((at, other), set())
                assert first.tenant_id not in passed
                passed.add(first.tenant_id)
        self.leave(first)

    @rule(at=st.sampled_from(TARGETS), priority=PRIORITY)
    def ask_for_a_turn(self, at: str, priority: Priority) -> None:
        """One of those that wait may take a free place; who comes, only where just lower priorities wait."""
        waiters = self.standing[at]
        assert sum(self.lines.is_turn(at, each.priority, each) for each in waiters) == min(1, len(waiters))
        goes_before = priority == "interactive" and all(each.priority == "batch" for each in waiters)
        newcomer = Waiter(tenant_id="acme", priority=priority)
        assert self.lines.is_turn(at, priority, None) == (not waiters or goes_before)
        assert self.lines.is_turn(at, priority, newcomer) == (not waiters or goes_before)

    @invariant()
    def the_books_are_right(self) -> None:
        assert len(self.lines) == len(self.waiting) <= MOST
        assert self.lines.lengths() == {target: len(each) for target, each in self.standing.items() if each}

    def teardown(self) -> None:
        for waiter in self.waiting:
            self.lines.leave(waiter)
        assert (len(self.lines), self.lines.lengths()) == (0, {})

    def stand(self, waiter: Waiter, targets: frozenset[str]) -> None:
        firsts = {target for target in TARGETS if self.lines.first(target) is waiter}
        assert set(self.lines.stand(waiter, targets)) == firsts - targets
        assert waiter.targets == targets
        for target, waiters in self.standing.items():
            if target in targets and waiter not in waiters:
                waiters.append(waiter)
            elif target not in targets and waiter in waiters:
                waiters.remove(waiter)
                self.passed.pop((target, waiter), None)

    def leave(self, waiter: Waiter) -> None:
        self.lines.leave(waiter)
        for target, waiters in self.standing.items():
            if waiter in waiters:
                waiters.remove(waiter)
                self.passed.pop((target, waiter), None)


def peers(one: Waiter, other: Waiter) -> bool:
    return (one.tenant_id, one.priority) == (other.tenant_id, other.priority)


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_tenants_take_turns_and_batch_comes_last():
    """A tenant with many calls does not hold up one with few; what can be had later comes later."""
    lines = Lines(100)
    asked: tuple[tuple[int, str, Priority], ...] = (
        (1, "acme", "batch"),
        (3, "acme", "interactive"),
        (1, "bolt", "interactive"),
    )
    for times, tenant, priority in asked:
        for _ in range(times):
            lines.stand(Waiter(tenant_id=tenant, priority=priority), frozenset({"x"}))
    sent: list[tuple[str, Priority]] = []
    while (first := lines.first("x")) is not None:
        lines.leave(first)
        sent.append((first.tenant_id, first.priority))
    assert sent == [
        ("acme", "interactive"),
        ("bolt", "interactive"),
        ("acme", "interactive"),
        ("acme", "interactive"),
        ("acme", "batch"),
    ]
