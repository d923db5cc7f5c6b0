"""What one worker counts: tokens settled, calls at once, its share while the book is away, and how much can be used."""

import heapq
import random

from book_model import BookModel
from test_exactness import want

from backstay.limits.desk import Desk, Taken
from backstay.limits.types import Refusal, Sync, Terms

TERMS = Terms()
SECOND_US = 1_000_000


class Bench:
    """Some workers over one book, on a clock that is told."""

    def __init__(self, workers: int, *, now_us: int = 100 * SECOND_US):
        self.now_us = now_us
        self.book = BookModel(TERMS)
        self.desks = [Desk(TERMS, now_us=now_us, wall_us=now_us) for _ in range(workers)]
        for _ in range(2):  # the second time, each knows of all others
            for number in range(workers):
                self.sync(number)

    def sync(self, number: int) -> None:
        sync = self.desks[number].ask(self.now_us)
        self.desks[number].answer(sync, self.book.sync(f"w{number}", sync, self.now_us), self.now_us)

    def wait(self, us: int) -> None:
        """Let time pass, with a heartbeat of each worker every second."""
        end_us = self.now_us + us
        while self.now_us < end_us:
            self.now_us = min(end_us, self.now_us + SECOND_US)
            for number in range(len(self.desks)):
                self.sync(number)

    def lose(self, number: int) -> None:
        self.desks[number].lost(self.desks[number].ask(self.now_us))

    def call(self, number: int, limit: int, amount: int = 1, **more: str) -> list[Taken] | Refusal:
        """Call, asking the book where that is needed."""
        desk, wants = self.desks[number], [want(limit, amount, **more)]  # type: ignore[arg-type]
        found = desk.decide(self.now_us, wants)
        if found is None:
            desk.wait(wants)
            self.sync(number)
            desk.wait_no_more(wants)
            found = desk.decide(self.now_us, wants) or desk.give_up(self.now_us, wants)
        return found

    def admitted(self, number: int, limit: int, tries: int) -> int:
        return sum(isinstance(self.call(number, limit), list) for _ in range(tries))


def taken(found: list[Taken] | Refusal) -> list[Taken]:
    assert isinstance(found, list)
    return found


def refused(found: list[Taken] | Refusal) -> int:
    assert isinstance(found, Refusal) and found.retry_us is not None
    return found.retry_us


def test_a_refusal_says_when_the_next_permit_frees() -> None:
    """The wait that is told is right: a moment before it is over the call is refused, after it admitted."""
    bench = Bench(1)
    for _ in range(3):
        taken(bench.call(0, 3))
        bench.wait(5 * SECOND_US)
    wait_us = refused(bench.call(0, 3))
    assert (
        44.9 < wait_us / SECOND_US < 45.3
    )  # the first is 15 s old; a window is 60 s, and 0.3 s for clocks and buckets
    bench.wait(wait_us - 1000)
    assert 0 < refused(bench.call(0, 3)) <= 1000
    bench.now_us += 1001
    taken(bench.call(0, 3))
    refused(bench.call(0, 3))


def test_tokens_that_were_not_used_come_back_and_others_are_carried() -> None:
    """An estimate of 900 holds 900 until the call used 100; one that used 1,500 is in the way of later ones."""
    bench = Bench(2)
    first = taken(bench.call(0, 1000, 900, meter="tokens"))
    refused(bench.call(1, 1000, 200, meter="tokens"))
    bench.desks[0].settle(bench.now_us, first, 100)
    bench.sync(0)
    bench.wait(SECOND_US)
    second = taken(bench.call(1, 1000, 900, meter="tokens"))
    bench.desks[1].settle(bench.now_us, second, 1500)
    bench.sync(1)
    bench.wait(59 * SECOND_US + SECOND_US // 2)
    assert refused(bench.call(0, 1000, 300, meter="tokens")) < SECOND_US  # only the first 100 are free again
    bench.wait(SECOND_US)
    taken(bench.call(0, 1000, 300, meter="tokens"))


def test_a_call_that_asks_for_more_than_the_limit_is_refused_for_good() -> None:
    """There is no use in waiting for a call whose tokens are above the limit."""
    found = Bench(1).call(0, 1000, 1001, meter="tokens")
    assert isinstance(found, Refusal) and found.retry_us is None


def test_calls_at_once_are_counted_over_all_workers() -> None:
    """Two workers share three permits; one that ends makes room for one, wherever it comes."""
    bench = Bench(2)
    held = [taken(bench.call(number, 3, meter="concurrency")) for number in (0, 1, 0)]
    refused(bench.call(1, 3, meter="concurrency"))
    bench.desks[0].settle(bench.now_us, held[0], None)
    bench.sync(0)
    taken(bench.call(1, 3, meter="concurrency"))
    refused(bench.call(0, 3, meter="concurrency"))


def test_no_walk_has_more_calls_at_once_than_the_limit() -> None:
    """Calls begin and end on two workers, syncs are lost or come late: never do more run than may."""
    for seed in range(100):
        chance, bench = random.Random(seed), Bench(2)
        open_calls: list[tuple[int, list[Taken]]] = []
        late: list[tuple[int, Sync]] = []
        for _ in range(200):
            number = chance.randrange(2)
            desk = bench.desks[number]
            match chance.randrange(6):
                case 0 | 1:
                    if isinstance(found := bench.call(number, 3, meter="concurrency"), list):
                        open_calls.append((number, found))
                case 2 if open_calls:
                    ended, taken_there = open_calls.pop(chance.randrange(len(open_calls)))
                    bench.desks[ended].settle(bench.now_us, taken_there, None)
                case 3:
                    late.append((number, desk.ask(bench.now_us)))
                    desk.lost(late[-1][1])
                    desk.alone = False  # shares have tests of their own
                case 4 if late:
                    whose, sync = late.pop(0)
                    bench.book.sync(f"w{whose}", sync, bench.now_us)
                case _:
                    bench.wait(chance.choice([1_000, 30_000, 400_000]))
            assert len(open_calls) <= 3
        for ended, taken_there in open_calls:
            bench.desks[ended].settle(bench.now_us, taken_there, None)
        bench.wait(3 * SECOND_US)
        for _ in range(3):
            taken(bench.call(0, 3, meter="concurrency"))


def test_what_a_dead_worker_held_comes_back() -> None:
    """The calls of a worker that is not heard of for five seconds count no longer; until then they do."""
    bench = Bench(2)
    taken(bench.call(0, 1, meter="concurrency"))
    for _ in range(4):
        bench.now_us += SECOND_US
        bench.sync(1)
        refused(bench.call(1, 1, meter="concurrency"))
    bench.now_us += SECOND_US
    bench.sync(1)
    bench.now_us += SECOND_US
    taken(bench.call(1, 1, meter="concurrency"))


def test_long_calls_outlive_an_outage() -> None:
    """The book was away for a minute: the first worker to come back does not take the others for dead."""
    bench = Bench(2)
    taken(bench.call(0, 1, meter="concurrency"))
    bench.now_us += 60 * SECOND_US
    bench.lose(0)
    bench.lose(1)
    bench.sync(1)
    refused(bench.call(1, 1, meter="concurrency"))
    bench.now_us += SECOND_US
    bench.sync(0)
    for _ in range(8):
        bench.now_us += SECOND_US
        bench.sync(0)
        bench.sync(1)
    refused(bench.call(1, 1, meter="concurrency"))


def test_while_the_book_is_away_workers_keep_to_their_shares() -> None:
    """Four workers had 40 of 100; without the book they admit what was left, together, and not one more."""
    bench = Bench(4)
    assert [bench.admitted(number, 100, 10) for number in range(4)] == [10, 10, 10, 10]
    for number in range(4):
        bench.sync(number)
    bench.now_us += TERMS.lease_us  # what they held has gone back
    for number in range(4):
        bench.sync(number)
        taken(bench.call(number, 100))
    for number in range(4):
        bench.lose(number)
    more = [bench.admitted(number, 100, 100) for number in range(4)]
    assert sum(more) <= 56
    assert min(more) >= 10
    bench.now_us += 62 * SECOND_US
    later = [bench.admitted(number, 100, 100) for number in range(4)]
    assert 90 <= sum(later) <= 100


def test_a_share_of_nothing_is_not_waited_for() -> None:
    """Without the book, four workers have no share of a limit of two: callers may come back when it may be there."""
    bench = Bench(4)
    bench.lose(0)
    found = bench.desks[0].decide(bench.now_us, [want(2, 1)])
    assert isinstance(found, Refusal) and found.retry_us == TERMS.gap_us
    (state,) = bench.desks[0].states(bench.now_us, [want(2, 1)])
    assert (state.remaining, state.next_us, state.reset_us) == (0, TERMS.gap_us, TERMS.gap_us)
    assert len(taken(bench.call(0, 4))) == 1
    found = bench.desks[0].decide(bench.now_us, [want(4, 1)])
    assert isinstance(found, Refusal) and found.retry_us is not None
    assert found.retry_us > TERMS.window_us, "what it used itself is known to free then, and not sooner"


def test_after_an_outage_nothing_is_admitted_twice() -> None:
    """What workers admitted alone counts in the book before it gives anything to anybody."""
    bench = Bench(2)
    taken(bench.call(0, 100))
    taken(bench.call(1, 100))
    bench.now_us += 5 * SECOND_US
    bench.lose(0)
    bench.lose(1)
    alone = [bench.admitted(number, 100, 30) for number in (0, 1)]
    assert alone == [30, 30]
    bench.sync(0)
    assert bench.desks[0].alone
    bench.now_us += SECOND_US // 2
    bench.sync(1)
    for _ in range(4):
        bench.now_us += SECOND_US
        for number in (0, 1):
            bench.sync(number)
    assert not bench.desks[0].alone and not bench.desks[1].alone
    assert sum(bench.admitted(number, 100, 100) for number in (0, 1)) == 100 - 2 - 60


def test_a_limit_that_changes_keeps_what_was_counted() -> None:
    """50 of 100 were used; with a limit of 60 there are 10 left, with 100 again 50."""
    bench = Bench(1)
    assert bench.admitted(0, 100, 50) == 50
    bench.now_us += SECOND_US
    assert bench.admitted(0, 60, 100) == 10
    assert bench.admitted(0, 100, 100) == 40


def test_limits_of_which_nothing_is_left_are_forgotten() -> None:
    """A key that called once takes no memory a few minutes later."""
    bench = Bench(1)
    taken(bench.call(0, 5))
    for _ in range(70):
        bench.now_us += SECOND_US
        bench.sync(0)
    bench.desks[0].forget_idle(bench.now_us)
    assert bench.desks[0].states(bench.now_us, []) == []
    assert bench.desks[0].known == 0


def test_nearly_all_of_a_limit_is_used() -> None:
    """Four workers, 200 callers that come back when they are told to, 600 a minute: 98 % and more is used."""
    bench, chance = Bench(4), random.Random(7)
    limit, latency_us = 600, 3_000
    events = [(bench.now_us + chance.randrange(50_000), number) for number in range(200)]
    events += [(bench.now_us + TERMS.report_us, -1 - worker) for worker in range(4)]
    heapq.heapify(events)
    admitted: list[int] = []
    end_us = bench.now_us + 300 * SECOND_US
    while events[0][0] < end_us:
        bench.now_us, number = heapq.heappop(events)
        if number < 0:
            bench.sync(-1 - number)
            heapq.heappush(events, (bench.now_us + TERMS.report_us, number))
            continue
        found = bench.call(number % 4, limit)
        if isinstance(found, Refusal):
            assert found.retry_us is not None
            heapq.heappush(events, (bench.now_us + found.retry_us + chance.randrange(latency_us), number))
        else:
            admitted.append(bench.now_us)
            heapq.heappush(events, (bench.now_us + 2 * latency_us, number))
    spans = [later - earlier for earlier, later in zip(admitted, admitted[limit:], strict=False)]
    assert min(spans) >= TERMS.window_us
    assert TERMS.window_us / (sum(spans) / len(spans)) >= 0.98
    assert len(admitted) >= 0.98 * 5 * limit


def test_a_worker_that_stood_still_goes_on_at_once() -> None:
    """The only worker was stopped for ten seconds: its callers do not pay for it."""
    bench = Bench(1)
    taken(bench.call(0, 10))
    bench.now_us += 10 * SECOND_US
    assert bench.admitted(0, 10, 20) == 9
