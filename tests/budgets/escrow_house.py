"""What the escrow's state machine plays with: workers with own clocks, and the real book, whose clock is told."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
import psycopg
from psycopg.rows import dict_row

from backstay.budgets import MERGE_CHARGES, Charge, Terms
from backstay.budgets.types import Ask, Reply
from backstay.budgets.vault import Purse, Share, Vault
from backstay.store import load_queries

TENANT = "acme"
QUERIES = load_queries("backstay.budgets")
PREPARE = load_queries("backstay.store", "shipment.sql")["prepare"]
AT_US = 1_700_000_000_000_000
"""When all calls are said to have begun: it says nothing of the window that they are charged to."""
CLOCK = """
create schema if not exists clock;
create or replace function clock.clock_timestamp() returns timestamptz language sql volatile as
  $$ select timestamptz 'epoch' + current_setting('clock.now_us')::bigint * interval '1 microsecond' $$;
set search_path = clock, pg_catalog, public;
"""
"""Stands before Postgres' own clock in the path on which the book's functions find it."""

Window = tuple[str, int]
"""A budget, and when one of its windows begins."""


class Running(msgspec.Struct):
    """A call under way."""

    worker: "Worker"
    shares: Sequence[Share]
    amount: int


class Book:
    """The functions of Postgres, at a time that is told."""

    def __init__(self, url: str):
        self.connection = psycopg.Connection[dict[str, Any]].connect(url, autocommit=True, row_factory=dict_row)
        self.connection.execute(CLOCK.encode())
        self.now_us = 0

    def empty(self) -> None:
        """Begin anew."""
        self.connection.execute(
            "truncate budgets, budget_windows, budget_leases, budget_holders, budget_postings, budget_burns"
        )

    def close(self) -> None:
        self.connection.close()

    def set_clock(self, now_us: int) -> None:
        self.now_us = now_us
        self.connection.execute("select set_config('clock.now_us', %s, false)", (str(now_us),))

    def add(self, terms: Terms) -> None:
        self.connection.execute(
            "insert into budgets (tenant_id, budget_id, scope, limit_nanousd, span, time_zone, rollover, created_by)"
            " values (%s, %s, '{}', %s, %s, %s, %s, 'test')",
            (TENANT, terms.id, terms.limit, terms.span, terms.time_zone, terms.rollover),
        )

    def sync(self, holder: str, asks: Iterable[Ask]) -> Reply:
        text = msgspec.json.encode(list(asks)).decode()
        cursor = self.connection.execute(QUERIES["sync"], {"holder": holder, "asks": text, "live_us": 5_000_000})
        row = cursor.fetchone()
        assert row is not None
        return msgspec.json.decode(row["reply"], type=Reply)

    def merge(self, holder: str, charges: Iterable[tuple[str, Charge]]) -> None:
        """Ship charges, by their calls."""
        with self.connection.transaction():
            for statement in PREPARE.split(";"):
                if "create temp table" in statement:
                    self.connection.execute(statement.encode())
            for call_id, charge in charges:
                document = {"tenant_id": TENANT, "holder": holder, "charges": [msgspec.to_builtins(charge)]}
                self.connection.execute(
                    "insert into shipment (entry_id, doc) values (%s, %s)", (call_id, json.dumps(document))
                )
            self.connection.execute("select ensure_partitions('2023-11-14')")
            self.connection.execute(cast(Any, MERGE_CHARGES))

    def end(self, holder: str, *, is_lost: bool) -> dict[Window, int]:
        """End a holder, and return what it still had of each window."""
        had = {window: amount for (each, window), amount in self.leases().items() if each == holder and amount}
        self.connection.execute("select budgets_end(%s, %s)", (holder, is_lost))
        return had

    def leases(self) -> dict[tuple[str, Window], int]:
        rows = self.connection.execute("select holder, budget_id, starts_us, amount from budget_leases").fetchall()
        return {(row["holder"], (row["budget_id"], row["starts_us"])): row["amount"] for row in rows}

    def windows(self) -> dict[Window, dict[str, Any]]:
        rows = self.connection.execute("select * from budget_windows order by budget_id, starts_us").fetchall()
        return {(row["budget_id"], row["starts_us"]): row for row in rows}

    def differing(self) -> int:
        """Count the accounts, and their sums over time, that do not come to what their postings say."""
        (row,) = self.connection.execute(cast(Any, QUERIES["audit"]), {"tenant_id": TENANT}).fetchall()
        return row["differing"] + row["differing_burns"]


class Worker:
    """One process: its clock, what it holds, and the journal that outlives it."""

    def __init__(self, name: str, book: Book, *, ahead_us: int):
        """Begin with a wall clock that is so much ahead of the book's."""
        self.name = name
        self.now_us = 0
        self.vault = Vault(now_us=0, wall_us=book.now_us + ahead_us)
        self.running: list[Running] = []
        self.journal: list[tuple[str, Charge]] = []
        """Charges that are not shipped yet, by call."""
        self._book = book

    def purses(self, budgets: Iterable[Terms]) -> list[Purse]:
        return [self.vault.purse(TENANT, terms, "", self.now_us) for terms in budgets]

    def reserve(self, purses: Sequence[Purse], amount: int, *, waits: bool) -> list[Share] | None:
        """Reserve from what is at hand; a call that waits asks the book once."""
        found = self.vault.take(purses, amount, self.now_us)
        if isinstance(found, Purse) and waits:
            self.vault.wait(purses, amount)
            self.sync()
            self.vault.wait_no_more(purses, amount)
            found = self.vault.take(purses, amount, self.now_us)
        return None if isinstance(found, Purse) else found

    def beat(self) -> None:
        """Do what a worker does each second."""
        self.vault.look_around(self.now_us)
        if self.vault.has_news:
            self.sync()

    def sync(self, fate: str = "taken") -> None:
        asks = self.vault.ask(self.now_us)
        if fate == "request lost":
            self.vault.lost(asks, self.now_us)
            return
        reply = self._book.sync(self.name, asks.values())
        if fate == "reply lost":
            self.vault.lost(asks, self.now_us)
        else:
            self.vault.answer(asks, reply, self.now_us, self.now_us)

    def pledges(self) -> list[tuple[str, Charge]]:
        """What calls that are cut short now are booked at: their worst case."""
        return [
            (f"{self.name}-{id(call)}", charge_of(share, call.amount)) for call in self.running for share in call.shares
        ]

    def held(self) -> dict[Window, int]:
        """What it could still spend, spends, or has spent without the book's knowledge, of each window."""
        found: dict[Window, int] = {}
        for purse in self.vault.purses:
            for lease in (*purse.ended, *([purse.lease] if purse.lease else ())):
                window = (purse.id[1], lease.starts_us)
                found[window] = found.get(window, 0) + lease.available
        for window, amount in (*self.reserved(), *((window_of(charge), charge.covered) for _, charge in self.journal)):
            found[window] = found.get(window, 0) + amount
        return found

    def reserved(self) -> list[tuple[Window, int]]:
        """What running calls may yet cost; known from the calls, whatever the vault thinks of them."""
        return [(window_of(charge), charge.covered) for _, charge in self.pledges()]


def charge_of(share: Share, amount: int) -> Charge:
    return share.charge(AT_US, covered=amount, uncovered=0)


def window_of(charge: Charge) -> Window:
    assert charge.starts_us is not None
    return (charge.budget_id, charge.starts_us)
