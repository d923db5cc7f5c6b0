"""Tests that no budget is overspent and none refuses falsely: any interleaving, crashes, lost messages, all clocks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from escrow_house import AT_US, TENANT, Book, Running, Window, Worker, window_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from backstay.budgets import Charge, Terms
from backstay.budgets.types import Span
from backstay.core.money import NanoUSD

SECOND = 1_000_000
AMOUNTS = st.integers(0, 60)
SHARES = st.sampled_from([0, 0.3, 0.9, 1])
"""What calls cost of their worst case."""
STARTS_US = int(datetime(2026, 3, 28, 22, 59, 50, tzinfo=UTC).timestamp()) * SECOND
"""Ten seconds before an hour ends; in Berlin a day as well, of which the next has 23 hours."""
SKEWS = st.sampled_from([0, 0, 1, -1, 5_000, -5_000, 2 * SECOND, -90 * SECOND, 7_200 * SECOND])
"""How much a worker's wall clock is ahead of the book's when it starts."""
FATES = st.sampled_from(["taken", "taken", "reply lost", "request lost"])
MOVES = [
    *(("now", by_us) for by_us in (50_000, 3 * SECOND, 61 * SECOND)),
    *(("the end", by_us) for by_us in (-5_000, 0, 1, 100_000, 65 * SECOND)),
]
"""How far time goes, from now or from the end of a window."""
_FOREVER_US = 2**62
SPANS: list[tuple[Span, ...]] = [("lifetime",), ("hour",), ("minute",), ("hour", "day"), ("minute", "lifetime")]


class EscrowMachine(RuleBasedStateMachine):
    """Several workers, one book, one or two budgets that each call touches; all that is held and spent fits."""

    book: Book
    calls: Bundle[Running] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.book.empty()
        self.budgets: list[Terms] = []
        self.highest: dict[str, int] = {}
        """The highest limit that there ever was, by budget."""
        self.spent: Counter[Window] = Counter()
        """What calls truly cost, worst cases of the lost ones included."""
        self.workers: list[Worker] = []
        self.born = 0
        self.is_far_back = False
        """Whether the book's clock was once set back so far that windows came again."""

    @initialize(
        limit=st.integers(0, 400), workers=st.integers(1, 4), spans=st.sampled_from(SPANS), rollover=st.booleans()
    )
    def begin(self, limit: int, workers: int, spans: Sequence[Span], rollover: bool) -> None:
        self.book.set_clock(STARTS_US)
        for span in spans:
            terms = Terms(
                tenant_id=TENANT, id=f"bud_{span}", limit=NanoUSD(limit), span=span, time_zone="Europe/Berlin",
                rollover=rollover and span != "lifetime",
            )  # fmt: skip
            self.budgets.append(terms)
            self.highest[terms.id] = limit
            self.book.add(terms)
        for _ in range(workers):
            self.start_worker(0)

    def start_worker(self, ahead_us: int) -> None:
        self.born += 1
        self.workers.append(Worker(f"wrk_{self.born}", self.book, ahead_us=ahead_us))

    def pick(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    @rule(target=calls, number=st.integers(0, 9), amount=AMOUNTS, waits=st.booleans())
    def reserve(self, number: int, amount: int, waits: bool) -> Running:
        return self.begin_call(number, amount, waits=waits)

    @rule(number=st.integers(0, 9), amount=AMOUNTS, share=SHARES)
    def call(self, number: int, amount: int, share: float) -> None:
        """Make a whole call, that waits for money if it must."""
        call = self.begin_call(number, amount, waits=True)
        if call.shares:
            self.end_call(call, int(call.amount * share))

    @rule(call=consumes(calls), share=SHARES)
    def settle(self, call: Running, share: float) -> None:
        """End a call at any price up to its worst case."""
        if call in call.worker.running:
            self.end_call(call, int(call.amount * share))

    @rule(number=st.integers(0, 9), fate=FATES, recalled=st.booleans())
    def exchange(self, number: int, fate: str, recalled: bool) -> None:
        """A worker and the book speak, perhaps as others need what it has; most such notifications are lost."""
        worker = self.pick(number)
        purses = worker.purses(self.budgets)
        for purse in purses if recalled else ():
            worker.vault.recall(purse.id, worker.now_us)
        worker.vault.wait(purses, 0)
        worker.vault.wait_no_more(purses, 0)
        worker.sync(fate)

    @rule(number=st.integers(0, 9), part=st.integers(1, 3), twice=st.booleans())
    def ship(self, number: int, part: int, twice: bool) -> None:
        """Some of a journal is shipped, perhaps twice."""
        worker = self.pick(number)
        batch = worker.journal[: max(1, len(worker.journal) // part)]
        for _ in range(1 + twice):
            self.book.merge(worker.name, batch)
        worker.journal = worker.journal[len(batch) :]

    @rule(number=st.integers(0, 9), is_lost=st.booleans(), ahead_us=SKEWS)
    def kill(self, number: int, is_lost: bool, ahead_us: int) -> None:
        """A worker dies; its journal is shipped to its end, or lost with its machine and written off."""
        worker = self.pick(number)
        self.workers.remove(worker)
        pledges = worker.pledges()
        worker.running.clear()
        if not is_lost:
            self.count(charge for _, charge in pledges)
            self.book.merge(worker.name, [*worker.journal, *pledges])
        else:
            self.spent.subtract(_sums(charge for _, charge in worker.journal))
        written_off = self.book.end(worker.name, is_lost=is_lost)
        if is_lost:
            self.spent.update(written_off)
        self.start_worker(ahead_us)

    @rule(limit=st.integers(0, 400))
    def change_limit(self, limit: int) -> None:
        for place, terms in enumerate(self.budgets):
            self.budgets[place] = _with_limit(terms, limit)
            self.highest[terms.id] = max(self.highest[terms.id], limit)
        self.book.connection.execute("update budgets set limit_nanousd = %s", (limit,))

    @rule(move=st.sampled_from(MOVES), beats=st.booleans())
    def pass_time(self, move: tuple[str, int], beats: bool) -> None:
        """Time passes for all; nobody does anything meanwhile, as if all were stopped."""
        self.move_clocks(self.length_us(move))
        for worker in self.workers if beats else ():
            worker.beat()

    @rule()
    def rest(self) -> None:
        """Nobody calls for so long that workers give back what is idle, and forget it."""
        for by_us in (3 * SECOND, SECOND, 20 * SECOND, SECOND):
            self.move_clocks(by_us)
            for worker in self.workers:
                worker.beat()

    @rule(number=st.integers(0, 9), move=st.sampled_from(MOVES), stands=st.booleans(), amount=AMOUNTS)
    def shift_clock(self, number: int, move: tuple[str, int], stands: bool, amount: int) -> None:
        """A worker's clock runs ahead of the book's, or stands while time passes for all others; then it is called."""
        worker, by_us = self.pick(number), self.length_us(move)
        if stands:
            self.move_clocks(by_us)
            by_us = -by_us
        worker.now_us += by_us
        self.call(number, amount, 1)

    @rule(by_us=st.sampled_from([5_000, SECOND, 12 * SECOND, 70 * SECOND, 5_000 * SECOND]))
    def jump_back(self, by_us: int) -> None:
        """The clock of Postgres is set back, or another server with another clock takes over."""
        self.book.set_clock(self.book.now_us - by_us)
        self.is_far_back = self.is_far_back or by_us > 3_600 * SECOND

    def move_clocks(self, by_us: int) -> None:
        self.book.set_clock(self.book.now_us + by_us)
        for worker in self.workers:
            worker.now_us += by_us

    def length_us(self, move: tuple[str, int]) -> int:
        """How long a move takes; 0 where it is to the end of a window and none ends."""
        since, by_us = move
        if since == "the end":
            ends = [row["ends_us"] - self.book.now_us for row in self.book.windows().values()]
            by_us += min((each for each in ends if 0 < each < _FOREVER_US), default=-by_us)
        return max(0, by_us)

    @invariant()
    def nothing_is_overspent(self) -> None:
        """Of each window: what was truly spent and all that may yet be is within the highest limit there ever was."""
        open_: Counter[Window] = Counter()
        leases = self.book.leases()
        for worker in self.workers:
            held = worker.held()
            for window, amount in held.items():
                assert amount <= leases.get((worker.name, window), 0), "nobody has what the book did not lease to him"
            open_.update(held)
            open_.subtract(_sums(charge for _, charge in worker.journal))
        windows = self.book.windows()
        for window, row in windows.items():
            assert row["granted"] == sum(amount for (_, each), amount in leases.items() if each == window)
            assert row["spent"] + row["granted"] <= self.highest[window[0]] + row["carried"]
            assert self.spent[window] + open_[window] <= self.highest[window[0]] + row["carried"]
        for budget, highest in self.highest.items() if not self.is_far_back else ():
            mine = [window for window in windows if window[0] == budget]
            assert sum(self.spent[window] + open_[window] for window in mine) <= highest * len(mine), "carried once"

    def begin_call(self, number: int, amount: int, *, waits: bool) -> Running:
        worker = self.pick(number)
        shares = worker.reserve(worker.purses(self.budgets), amount, waits=waits)
        call = Running(worker, shares or [], amount)
        if call.shares:
            worker.running.append(call)
        return call

    def end_call(self, call: Running, cost: int) -> None:
        call.worker.running.remove(call)
        charges = call.worker.vault.settle(call.shares, cost, AT_US)
        self.count(charges)
        self.born += 1
        call.worker.journal += [(f"call_{self.born}", charge) for charge in charges]

    def count(self, charges: Iterator[Charge] | Sequence[Charge]) -> None:
        self.spent.update(_sums(charges))

    def finish(self) -> None:
        """When all has ended and is shipped, what is left can be had to the last nano-dollar, by whoever asks."""
        for worker in self.workers:
            for call in list(worker.running):
                self.end_call(call, 0)
            self.book.merge(worker.name, worker.journal)
            worker.journal = []
        for _ in range(2):
            for worker in self.workers:
                worker.purses(self.budgets)
                worker.vault.close()
                worker.sync()
        if not self.is_far_back:
            self.spend_the_rest()
        assert self.book.differing() == 0

    def spend_the_rest(self) -> None:
        first = self.workers[0]
        first.reserve(first.purses(self.budgets), 0, waits=True)
        windows = self.book.windows()
        current = {purse.id[1]: purse.lease for purse in first.purses(self.budgets)}
        left = min(
            _whole(windows[budget, lease.starts_us]) - self.spent[budget, lease.starts_us]
            for budget, lease in current.items()
            if lease is not None
        )
        if left > 0:
            found = first.reserve(first.purses(self.budgets), left, waits=True)
            assert found is not None, "a call that fits is admitted"
        assert first.reserve(first.purses(self.budgets), 1, waits=True) is None, "and not one nano-dollar more"


def _whole(row: dict[str, int]) -> int:
    return row["limit_nanousd"] + row["carried"]


def _sums(charges: Iterator[Charge] | Sequence[Charge]) -> Counter[Window]:
    found: Counter[Window] = Counter()
    for charge in charges:
        found[window_of(charge)] += charge.covered
    return found


def _with_limit(terms: Terms, limit: int) -> Terms:
    return Terms(
        tenant_id=terms.tenant_id, id=terms.id, limit=NanoUSD(limit), span=terms.span, time_zone=terms.time_zone,
        rollover=terms.rollover,
    )  # fmt: skip


class Checked(EscrowMachine):
    """Ends each run with what must hold then."""

    def teardown(self) -> None:
        if self.workers:
            self.finish()


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Checked]]:
    EscrowMachine.book = Book(database_url)
    yield Checked
    EscrowMachine.book.close()


def test_budgets_hold_whatever_happens(machine: type[Checked]) -> None:
    """Workers, crashes, lost and doubled messages, changed limits, clocks and windows: invariant 1 at each step."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
