"""Tests of what workers tell of money that is spent and not shipped yet: nobody waits for it, nothing else changes."""

from collections.abc import Iterator

import pytest
from escrow_house import TENANT, Book, Running, Worker

from backstay.budgets import Terms
from backstay.budgets.vault import Purse
from backstay.core.money import NanoUSD

TERMS = Terms(tenant_id=TENANT, id="bud_1", limit=NanoUSD(1000), span="lifetime")
START_US = 1_699_999_200_000_000


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    book = Book(database_url)
    book.set_clock(START_US)
    book.add(TERMS)
    yield book
    book.close()


@pytest.fixture
def workers(book: Book) -> tuple[Worker, Worker]:
    return Worker("wrk_1", book, ahead_us=0), Worker("wrk_2", book, ahead_us=0)


def reserve(worker: Worker, amount: int) -> Running | None:
    shares = worker.reserve(worker.purses([TERMS]), amount, waits=True)
    return None if shares is None else Running(worker, shares, amount)


def ask_for(worker: Worker, amount: int) -> bool:
    """Ask the book; return whether the amount may fit yet."""
    purses = worker.purses([TERMS])
    worker.vault.wait(purses, amount)
    worker.sync()
    worker.vault.wait_no_more(purses, amount)
    return worker.vault.shortage(purses, amount, worker.now_us) is None


def called_back(worker: Worker) -> None:
    """Hear that others need what is here."""
    (purse,) = worker.purses([TERMS])
    worker.vault.recall(purse.id, worker.now_us)
    worker.sync()


def test_what_is_spent_elsewhere_is_not_waited_for(book: Book, workers: tuple[Worker, Worker]) -> None:
    """Once the other worker was asked, a call is refused that its running calls cannot make room for."""
    one, other = workers
    first = reserve(one, 800)
    assert first is not None
    assert ask_for(other, 300), "the 800 may all come back"
    called_back(one)
    assert ask_for(other, 300), "they still run"
    one.vault.settle(first.shares, 790, START_US)
    called_back(one)
    assert not ask_for(other, 300), "790 are spent, though the book is yet to hear of the call"
    assert ask_for(other, 210)
    assert reserve(other, 210) is not None


@pytest.mark.parametrize("is_shipped_first", [True, False])
def test_what_is_shipped_counts_once(book: Book, workers: tuple[Worker, Worker], is_shipped_first: bool) -> None:
    """Whether the record or the word of it comes first, what runs elsewhere may still come back."""
    one, other = workers
    done, running = reserve(one, 300), reserve(one, 500)
    assert done is not None and running is not None
    charges = one.vault.settle(done.shares, 300, START_US)
    if is_shipped_first:
        book.merge("wrk_1", [("call_1", charge) for charge in charges])
    called_back(one)
    if not is_shipped_first:
        assert ask_for(other, 700)
        book.merge("wrk_1", [("call_1", charge) for charge in charges])
    assert ask_for(other, 700), "500 run and 200 are free"
    assert not ask_for(other, 701)
    one.vault.settle(running.shares, 0, START_US)
    called_back(one)
    assert reserve(other, 700) is not None
    assert book.differing() == 0


def test_a_lease_lasts_for_an_outage(book: Book, workers: tuple[Worker, Worker]) -> None:
    """A worker whose calls go on holds a good part of what is left, and gives it back when it is needed elsewhere."""
    one, other = workers
    (purse,) = one.purses([TERMS])
    for number in range(8):
        call = reserve(one, 10)
        assert call is not None
        (charge,) = one.vault.settle(call.shares, 10, START_US)
        book.merge("wrk_1", [(f"call_{number}", charge)])
        one.now_us += 1_000_000
        book.set_clock(book.now_us + 1_000_000)
        one.beat()
    lease = purse.lease
    assert lease is not None
    assert 920 // 4 <= lease.available <= 920 // 2
    called_back(one)
    found = other.vault.take(other.purses([TERMS]), 900, 0)
    assert isinstance(found, Purse), "it has not asked yet"
    assert reserve(other, 900) is not None
