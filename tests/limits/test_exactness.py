"""Never more than the limit is admitted in any window, whatever happens; and nearly all of it can be used."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from book_model import BookModel, Worker
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backstay.limits.desk import Desk, Taken
from backstay.limits.types import LimitId, Meter, Note, Refusal, Reply, Sync, Terms, Want

TERMS = Terms()
SECOND_US = 1_000_000


def want(limit: int, amount: int = 1, meter: Meter = "requests") -> Want:
    return Want(id=LimitId(tenant_id="acme", kind="key", name="k", meter=meter), limit=limit, amount=amount)


@dataclass
class Process:
    """One worker: its desk, its own clock, and the syncs that are on their way."""

    name: str
    offset_us: int
    rate_ppm: int
    desk: Desk
    open_calls: list[list[Taken]] = field(default_factory=list[list[Taken]])
    notes: list[Note] = field(default_factory=list[Note])
    sent: Sync | None = None
    reply: Reply | None = None

    def clock_us(self, true_us: int) -> int:
        return self.offset_us + true_us + true_us * self.rate_ppm // 1_000_000


class Machine(RuleBasedStateMachine):
    """Workers with clocks of their own and one book; any message may be late, lost or overtaken; any may die."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 10 * SECOND_US
        self.book = BookModel(TERMS)
        self.names = itertools.count()
        self.processes: list[Process] = []
        self.late: list[tuple[str, Sync]] = []
        self.admitted: list[tuple[int, int]] = []

    @initialize(limit=st.integers(1, 4), offsets=st.lists(st.integers(0, 10**9), min_size=2, max_size=3))
    def begin(self, limit: int, offsets: list[int]) -> None:
        self.limit = limit
        # One that only says that it is here: so the book has never been away for all.
        self.book.workers["idle"] = Worker(seen_us=self.now_us, since_us=0)
        for number, offset_us in enumerate(offsets):
            self.start(offset_us, rate_ppm=(number - 1) * 200)

    def start(self, offset_us: int, rate_ppm: int) -> None:
        process = Process(f"w{next(self.names)}", offset_us, rate_ppm, Desk(TERMS, now_us=0, wall_us=0))
        self.processes.append(process)
        self.exchange(process)

    def pick(self, number: int) -> Process:
        return self.processes[number % len(self.processes)]

    @rule(step_us=st.sampled_from([500, 20_000, 130_000, 510_000, 3 * SECOND_US, 29 * SECOND_US, 60 * SECOND_US]))
    def pass_time(self, step_us: int) -> None:
        self.now_us += step_us
        self.book.workers["idle"].seen_us = self.now_us

    @rule(number=st.integers(0, 2), amount=st.integers(1, 3))
    def call(self, number: int, amount: int) -> None:
        """A call that asks the book where it must, and is refused where that gives it nothing."""
        process, wants = self.pick(number), [want(self.limit, amount)]
        if process.desk.alone:
            return
        found = self.decide(process, wants)
        if found is None and process.sent is None:
            process.desk.wait(wants)
            self.exchange(process)
            process.desk.wait_no_more(wants)
            self.decide(process, wants)

    @rule(number=st.integers(0, 2), amount=st.integers(1, 4))
    def go_away(self, number: int, amount: int) -> None:
        """A caller that is gone when its permits come: they are at hand for others."""
        process, wants = self.pick(number), [want(self.limit, amount)]
        if process.sent is None:
            process.desk.wait(wants)
            self.exchange(process)
            process.desk.wait_no_more(wants)

    @rule(number=st.integers(0, 2), amount=st.integers(1, 4))
    def ask_and_go_away(self, number: int, amount: int) -> None:
        """The same, and the sync is on its way for longer."""
        process, wants = self.pick(number), [want(self.limit, amount)]
        if process.sent is None:
            process.desk.wait(wants)
            self.send(number)
            process.desk.wait_no_more(wants)

    @rule(number=st.integers(0, 2), amount=st.integers(1, 3))
    def call_from_stock(self, number: int, amount: int) -> None:
        process = self.pick(number)
        if not process.desk.alone:
            self.decide(process, [want(self.limit, amount)])

    def decide(self, process: Process, wants: Sequence[Want]) -> list[Taken] | Refusal | None:
        found = process.desk.decide(process.clock_us(self.now_us), wants)
        if isinstance(found, list):
            self.admitted.append((self.now_us, wants[0].amount))
            process.open_calls.append(found)
        process.notes += process.desk.take_notes()
        return found

    @rule(number=st.integers(0, 2))
    def send(self, number: int) -> None:
        process = self.pick(number)
        if process.sent is None:
            process.sent, process.reply = process.desk.ask(process.clock_us(self.now_us)), None

    @rule(number=st.integers(0, 2))
    def arrive(self, number: int) -> None:
        process = self.pick(number)
        if process.sent is not None and process.reply is None:
            process.reply = self.book.sync(process.name, process.sent, self.now_us)

    @rule(number=st.integers(0, 2))
    def deliver(self, number: int) -> None:
        process = self.pick(number)
        if process.sent is not None and process.reply is not None:
            process.desk.answer(process.sent, process.reply, process.clock_us(self.now_us))
            process.sent = process.reply = None

    @rule(number=st.integers(0, 2))
    def lose(self, number: int) -> None:
        """The worker gives a sync up: it was taken, or never will be, or will be later."""
        process = self.pick(number)
        if process.sent is not None:
            if process.reply is None:
                self.late.append((process.name, process.sent))
            process.desk.lost(process.sent)
            process.desk.alone = False  # what a worker does alone has tests of its own
            process.sent = process.reply = None

    @rule()
    def arrive_late(self) -> None:
        if self.late:
            name, sync = self.late.pop(0)
            self.book.sync(name, sync, self.now_us)

    @rule(number=st.integers(0, 2))
    def die(self, number: int) -> None:
        """A worker is killed, and nobody knows what it used."""
        self.replace(self.pick(number))

    @rule(number=st.integers(0, 2), is_rewritten=st.booleans())
    def die_and_be_found(self, number: int, is_rewritten: bool) -> None:
        """A worker is killed, and what it noted is read. A sync of it may still be on its way."""
        process = self.pick(number)
        if process.sent is not None and process.reply is None:
            self.late.append((process.name, process.sent))
        self.replace(process)
        self.book.end(process.name, process.desk.untold() if is_rewritten else process.notes, self.now_us)

    def replace(self, process: Process) -> None:
        self.processes.remove(process)
        self.start(process.offset_us + 7, process.rate_ppm)

    def exchange(self, process: Process) -> None:
        sync = process.desk.ask(process.clock_us(self.now_us))
        self.now_us += 300
        reply = self.book.sync(process.name, sync, self.now_us)
        self.now_us += 300
        process.desk.answer(sync, reply, process.clock_us(self.now_us))

    @invariant()
    def no_window_has_more_than_the_limit(self) -> None:
        since_us = self.now_us - TERMS.window_us
        self.admitted = [(at_us, amount) for at_us, amount in self.admitted if at_us > since_us]
        assert sum(amount for _, amount in self.admitted) <= self.limit

    def teardown(self) -> None:
        """After quiet, all of it can be used again."""
        if not self.processes:
            return
        self.now_us += TERMS.lease_us + TERMS.span_us + TERMS.bucket_us + TERMS.gap_us + 1
        self.start(5, 0)
        process, wants = self.processes[-1], [want(self.limit, self.limit)]
        process.desk.wait(wants)
        self.exchange(process)
        process.desk.wait_no_more(wants)
        self.admitted.clear()
        assert isinstance(self.decide(process, wants), list)


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestExactness = Machine.TestCase


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_no_walk_leads_beyond_the_limit(limit: int) -> None:
    """Long random walks of the same machine: they go where a search for the shortest way does not."""
    for seed in range(60):
        chance, machine = random.Random(seed), Machine()
        machine.begin(limit, [0, 10**9])
        for _ in range(400):
            walk(machine, chance)
            machine.no_window_has_more_than_the_limit()
        machine.teardown()


def walk(machine: Machine, chance: random.Random) -> None:
    number, amount = chance.randrange(2), chance.randint(1, machine.limit)
    step = chance.choices(
        ["time", "call", "stock", "away", "ask_away", "send", "arrive", "deliver", "lose", "late", "die", "found"],
        weights=[6, 6, 6, 3, 3, 2, 4, 3, 2, 2, 0.3, 1],
    )[0]
    match step:
        case "time":
            machine.pass_time(chance.choice([500, 20_000, 130_000, 510_000, 3 * SECOND_US, 29 * SECOND_US]))
        case "call":
            machine.call(number, amount)
        case "stock":
            machine.call_from_stock(number, amount)
        case "away":
            machine.go_away(number, amount)
        case "ask_away":
            machine.ask_and_go_away(number, amount)
        case "send":
            machine.send(number)
        case "arrive":
            machine.arrive(number)
        case "deliver":
            machine.deliver(number)
        case "lose":
            machine.lose(number)
        case "late":
            machine.arrive_late()
        case "found":
            machine.die_and_be_found(number, chance.random() < 0.5)
        case _:
            machine.die(number)
