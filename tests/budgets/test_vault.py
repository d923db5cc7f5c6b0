"""Tests of what a worker holds when time passes: windows that end, and budgets that rest."""

import pytest

from backstay.budgets import Charge, Terms
from backstay.budgets.types import Answer, Reply
from backstay.budgets.vault import Purse, Vault
from backstay.core.money import NanoUSD

TERMS = Terms(tenant_id="acme", id="bud_1", limit=NanoUSD(1000), span="minute")
ENDS_US = 60_000_000


class Book:
    """What Postgres would say to a single worker, in totals."""

    def __init__(self) -> None:
        self.starts_us = 0
        self.received: dict[int, int] = {}
        self.granted: dict[int, int] = {}
        self.spent: dict[int, int] = {}
        self._returned: dict[int, int] = {}
        self.is_deleted = False
        self.syncs = 0

    def ship(self, charges: list[Charge]) -> None:
        for charge in charges:
            assert charge.starts_us is not None
            self.spent[charge.starts_us] = self.spent.get(charge.starts_us, 0) + charge.covered
            self.granted[charge.starts_us] -= charge.covered

    def sync(self, vault: Vault, now_us: int, *, at_us: int) -> None:
        asks = vault.ask(now_us)
        self.syncs += bool(asks)
        answers: list[Answer] = []
        for ask in asks.values():
            for start, total in ask.returns:
                self.granted[start] -= total - self._returned.get(start, 0)
                self._returned[start] = total
                assert self.granted[start] >= 0, "nobody gives back more than it had"
            if self.is_deleted:
                answers.append(Answer(place=ask.place, gone=True))
                continue
            now = self.starts_us
            room = 1000 - self.spent.get(now, 0) - self.granted.get(now, 0)
            more = ask.need if 0 < ask.need <= room else 0
            self.granted[now] = self.granted.get(now, 0) + more
            self.received[now] = self.received.get(now, 0) + more
            answers.append(
                Answer(
                    place=ask.place, starts_us=now, ends_us=now + ENDS_US, received=self.received[now], free=room - more
                )
            )
        vault.answer(asks, Reply(at_us=at_us, answers=tuple(answers)), now_us, now_us)


def spend(vault: Vault, book: Book, amount: int, now_us: int, *, at_us: int | None = None) -> bool:
    """Reserve an amount, and settle it at its whole."""
    purse = vault.purse("acme", TERMS, "", now_us)
    vault.wait([purse], amount)
    book.sync(vault, now_us, at_us=now_us if at_us is None else at_us)
    vault.wait_no_more([purse], amount)
    found = vault.take([purse], amount, now_us)
    if isinstance(found, Purse):
        return False
    book.ship(vault.settle(found, amount, now_us))
    return True


def test_a_budget_that_rested_is_not_new() -> None:
    """A worker that forgets a budget for want of calls does not take for its own what it has had and spent."""
    vault, book = Vault(now_us=0, wall_us=0), Book()
    assert spend(vault, book, 900, 0)
    for now_us in range(0, 50_000_000, 1_000_000):
        vault.look_around(now_us)
        book.sync(vault, now_us, at_us=now_us)
    assert vault.purses == ()
    assert not spend(vault, book, 900, 50_000_000)
    assert spend(vault, book, 100, 50_000_000)
    assert not spend(vault, book, 1, 50_000_000)


@pytest.mark.parametrize("ahead_us", [1, 5_000, 2_000_000])
def test_a_window_that_is_not_over_yet_is_not_new(ahead_us: int) -> None:
    """A worker whose clock is ahead ends its lease early; the book's window goes on, with what is spent."""
    vault, book = Vault(now_us=0, wall_us=ahead_us), Book()
    assert spend(vault, book, 900, 0, at_us=ahead_us)
    for now_us in (ENDS_US - ahead_us, ENDS_US - 1):
        assert not spend(vault, book, 900, now_us, at_us=now_us + ahead_us)
    book.starts_us = ENDS_US
    assert spend(vault, book, 900, ENDS_US + 1, at_us=ENDS_US + 1 + ahead_us)
    assert not spend(vault, book, 101, ENDS_US + 2, at_us=ENDS_US + 2 + ahead_us)


def test_what_is_forgotten_is_forgotten_once_its_window_is_over() -> None:
    """Memory does not grow with each window's users."""
    vault, book = Vault(now_us=0, wall_us=0), Book()
    assert spend(vault, book, 10, 0)
    for now_us in range(0, 200_000_000, 1_000_000):
        book.starts_us = now_us // ENDS_US * ENDS_US
        vault.look_around(now_us)
        book.sync(vault, now_us, at_us=now_us)
    assert vault.remembered == 0


@pytest.mark.parametrize("is_over", [False, True])
def test_a_budget_that_is_deleted_in_use_is_let_go(is_over: bool) -> None:
    """What runs is charged to its window, what is left of the lease goes back once, and then nobody asks any more."""
    vault, book = Vault(now_us=0, wall_us=0), Book()
    purse = vault.purse("acme", TERMS, "", 0)
    vault.wait([purse], 600)
    book.sync(vault, 0, at_us=0)
    vault.wait_no_more([purse], 600)
    found = vault.take([purse], 500, 0)
    assert not isinstance(found, Purse)
    book.is_deleted = True
    vault.recall(purse.id, 0)
    book.sync(vault, 0, at_us=0)
    ended_us = ENDS_US + 5 if is_over else 5
    vault.look_around(ended_us)
    (charge,) = vault.settle(found, 400, ended_us)
    assert (charge.starts_us, charge.covered) == (0, 400)
    book.ship([charge])
    for now_us in range(ended_us, ended_us + 60_000_000, 1_000_000):
        vault.look_around(now_us)
        if vault.has_news:
            book.sync(vault, now_us, at_us=now_us)
    assert (book.granted, book.spent) == ({0: 0}, {0: 400})
    assert vault.remembered == 0
    assert book.syncs < 10
