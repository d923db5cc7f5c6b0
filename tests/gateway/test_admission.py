"""Admission as a pure core: never beyond capacity, everything given back, tenants in turn, lowest priority first."""

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backstay.core.caller import Priority
from backstay.gateway.admission import SHORT_BYTES, Admission, Capacity, Ticket

CAPACITY = Capacity(calls=4, size_bytes=16 * SHORT_BYTES, waiting=5, wait_ns=100)
SHORT, LONG = 100, 5 * SHORT_BYTES
SIZES = st.sampled_from([0, SHORT, SHORT_BYTES, SHORT_BYTES + 1, LONG, 15 * SHORT_BYTES, 16 * SHORT_BYTES])
TENANTS = st.sampled_from(["acme", "bolt", "cask"])


class Crowd(RuleBasedStateMachine):
    """Calls come, grow, answer, wait, give up and leave in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(CAPACITY)
        self.now_ns = 0
        self.inside: list[Ticket] = []
        self.waiting: list[Ticket] = []
        """In the order in which they came."""
        self.passed: dict[Ticket, list[str]] = {}
        """For each that waits: the tenants of those that were let in from its queue since it came."""

    @rule(tenant=TENANTS, size_bytes=SIZES)
    def come(self, tenant: str, size_bytes: int) -> None:
        before = list(self.waiting)
        ticket = self._ask(tenant, "interactive", size_bytes)
        if ticket.state == "waiting":
            assert ticket.deadline_ns == self.now_ns + CAPACITY.wait_ns
            self.waiting.append(ticket)
            self.passed[ticket] = []
        elif ticket.state == "in":
            assert not [each for each in before if is_short(each) == is_short(ticket)], "it passed others of its queue"
        else:
            impossible = size_bytes > CAPACITY.longest_bytes
            mine = sum(each.tenant_id == tenant for each in before)
            others = [sum(each.tenant_id == other for each in before) for other in {each.tenant_id for each in before}]
            assert impossible or (len(before) == CAPACITY.waiting and max(others) <= mine + 1)

    @rule(tenant=TENANTS, size_bytes=SIZES)
    def come_in_batch(self, tenant: str, size_bytes: int) -> None:
        free = not self.waiting and self.admission.calls < CAPACITY.calls
        ticket = self._ask(tenant, "batch", size_bytes)
        assert ticket.state in ("in", "refused"), "a batch call never waits"
        if ticket.state == "in":
            assert free, "a batch call takes nothing that an interactive one waits for"
            assert (self.admission.calls - 1) * 100 < CAPACITY.calls * CAPACITY.batch_percent
            assert (self.admission.size_bytes - size_bytes) * 100 < CAPACITY.size_bytes * CAPACITY.batch_percent

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), more_bytes=SIZES)
    def grow(self, data: st.DataObject, more_bytes: int) -> None:
        ticket = data.draw(st.sampled_from(self.inside))
        before = (ticket.size_bytes, self.admission.size_bytes)
        if self.admission.grow(ticket, more_bytes):
            assert self.admission.size_bytes <= CAPACITY.size_bytes
        else:
            assert (ticket.size_bytes, self.admission.size_bytes) == before

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), more_bytes=SIZES)
    def answer(self, data: st.DataObject, more_bytes: int) -> None:
        self.admission.hold(data.draw(st.sampled_from(self.inside)), more_bytes)

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), times=st.integers(1, 2))
    def leave(self, data: st.DataObject, times: int) -> None:
        ticket = data.draw(st.sampled_from(self.inside))
        self.inside.remove(ticket)
        for _ in range(times):
            self.admission.leave(ticket)
        self._settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.admission.leave(ticket)
        self._settle()

    @rule(passed_ns=st.integers(1, 150))
    def let_time_pass(self, passed_ns: int) -> None:
        self.now_ns += passed_ns
        self.admission.expire(self.now_ns)
        self._settle()
        assert all(ticket.deadline_ns > self.now_ns for ticket in self.waiting)

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.admission.calls == len(self.inside) <= CAPACITY.calls
        assert self.admission.size_bytes == sum(ticket.size_bytes for ticket in self.inside)
        assert self.admission.waiting == len(self.waiting) <= CAPACITY.waiting

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Where a place is free, one that is first of its tenant in each queue does not fit: it is its turn."""
        if self.admission.calls < CAPACITY.calls:
            for short in (True, False):
                queue = [ticket for ticket in self.waiting if is_short(ticket) == short]
                firsts = {ticket.tenant_id: ticket for ticket in reversed(queue)}.values()
                assert not queue or not all(map(self._fits, firsts))

    def teardown(self) -> None:
        for ticket in [*self.waiting, *self.inside]:
            self.admission.leave(ticket)
        for ticket in self.admission.take_decided():
            self.admission.leave(ticket)
        assert (self.admission.calls, self.admission.size_bytes, self.admission.waiting) == (0, 0, 0)

    def _ask(self, tenant: str, priority: Priority, size_bytes: int) -> Ticket:
        ticket = self.admission.ask(tenant, priority, size_bytes, self.now_ns)
        self._settle()
        if ticket.state == "in":
            self.inside.append(ticket)
            assert self.admission.size_bytes <= CAPACITY.size_bytes
        else:
            assert ticket.state == "waiting" or ticket.refusal is not None
        return ticket

    def _settle(self) -> None:
        """Take note of those that waited and do no more."""
        for ticket in self.admission.take_decided():
            earlier = self.waiting[: self.waiting.index(ticket)]
            self.waiting.remove(ticket)
            if ticket.state == "in":
                self.inside.append(ticket)
                assert not [each for each in earlier if peers(each, ticket)], "first come, first served"
                self._pass(ticket)

    def _pass(self, ticket: Ticket) -> None:
        """No tenant is let in twice from a queue while another waits there all the time."""
        for other in self.waiting:
            if is_short(other) == is_short(ticket) and other.tenant_id != ticket.tenant_id:
                first = next(each for each in self.waiting if peers(each, other))
                if first is other:
                    assert ticket.tenant_id not in self.passed[other]
                    self.passed[other].append(ticket.tenant_id)
            elif peers(other, ticket):
                self.passed[other].clear()

    def _fits(self, ticket: Ticket) -> bool:
        limit = CAPACITY.size_bytes if is_short(ticket) else CAPACITY.longest_bytes
        return self.admission.size_bytes + ticket.size_bytes <= limit


def is_short(ticket: Ticket) -> bool:
    return ticket.size_bytes <= SHORT_BYTES


def peers(one: Ticket, other: Ticket) -> bool:
    """Whether both wait in the same line of the same tenant."""
    return one.tenant_id == other.tenant_id and is_short(one) == is_short(other)


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def ask(admission: Admission, *asked: tuple[str, Priority, int]) -> list[Ticket]:
    return [admission.ask(tenant, priority, size_bytes, 0) for tenant, priority, size_bytes in asked]


def ask_often(admission: Admission, times: int, priority: Priority) -> list[Ticket]:
    return [admission.ask("acme", priority, SHORT, 0) for _ in range(times)]


def states(tickets: Sequence[Ticket]) -> list[str]:
    return [ticket.refusal or ticket.state for ticket in tickets]


def test_batch_is_shed_first():
    """Over its share a batch call is refused while interactive calls go in; when all is taken, those wait."""
    admission = Admission(Capacity(calls=10, size_bytes=1 << 20))
    batch = ask_often(admission, 8, "batch")
    assert states(batch) == ["in"] * 7 + ["share"]
    assert states(ask_often(admission, 4, "interactive")) == ["in"] * 3 + ["waiting"]


def test_short_bodies_pass_long_ones_that_wait_for_bytes():
    """A queue of uploads does not hold up small calls, for which some bytes are kept."""
    admission = Admission(CAPACITY)
    long = ask(admission, ("acme", "interactive", 15 * SHORT_BYTES), ("acme", "interactive", LONG))
    assert states(long) == ["in", "waiting"]
    assert states(ask(admission, ("bolt", "interactive", SHORT))) == ["in"]


def test_a_tenant_that_fills_the_queue_makes_place_for_another():
    """The newest of the tenant that has the most in a full queue is refused, not the newcomer with none."""
    admission = Admission(CAPACITY)
    greedy = ask_often(admission, 9, "interactive")
    assert states(greedy) == ["in"] * 4 + ["waiting"] * 5
    (modest,) = ask(admission, ("bolt", "interactive", SHORT))
    assert modest.state == "waiting"
    assert states(admission.take_decided()) == ["displaced"]
    assert greedy[-1].refusal == "displaced"
    admission.leave(greedy[0])
    admission.leave(greedy[1])
    assert modest in admission.take_decided(), "tenants take turns"


@pytest.mark.parametrize("size_bytes", [SHORT_BYTES, 1 << 20, 384 << 20])
def test_the_longest_body_fits_an_empty_worker(size_bytes: int):
    """Whatever the limit, the longest body that is taken at all is let in where nothing else is."""
    capacity = Capacity(calls=1, size_bytes=size_bytes)
    assert states(ask(Admission(capacity), ("acme", "interactive", capacity.longest_bytes))) == ["in"]
    assert states(ask(Admission(capacity), ("acme", "interactive", size_bytes + 1))) == ["bytes"]
