"""Tests that no budget is overspent and none refuses falsely: any interleaving, crashes, lost and doubled messages."""

import json
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import psycopg
import pytest
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
from psycopg.rows import dict_row

from backstay.budgets import MERGE_CHARGES, Charge, Terms
from backstay.budgets.types import Ask, Reply
from backstay.budgets.vault import Purse, Share, Vault
from backstay.core.money import NanoUSD
from backstay.store import load_queries

TENANT, BUDGET = "acme", "bud_1"
QUERIES = load_queries("backstay.budgets")
PREPARE = load_queries("backstay.store", "shipment.sql")["prepare"]
AMOUNTS = st.integers(0, 60)


class Running(msgspec.Struct):
    """A call under way."""

    worker: "Worker"
    shares: list[Share]
    amount: int


class Worker:
    """One process: what it holds, and the journal that outlives it."""

    def __init__(self, name: str, terms: Terms):
        self.name = name
        self.vault = Vault(now_us=0, wall_us=0)
        self.purse = self.vault.purse(TENANT, terms, "", 0)
        self.running: list[Running] = []
        self.journal: list[tuple[str, Charge]] = []
        """Charges that are not shipped yet, by call."""

    def pledges(self) -> list[tuple[str, Charge]]:
        """What calls that are cut short now are booked at: their worst case."""
        return [
            (f"{self.name}-{id(call)}", charge_of(share.lease.starts_us, call.amount))
            for call in self.running
            for share in call.shares
        ]


def charge_of(starts_us: int, amount: int) -> Charge:
    return Charge(budget_id=BUDGET, starts_us=starts_us, at_us=1_700_000_000_000_000, covered=amount)


class EscrowMachine(RuleBasedStateMachine):
    """Several workers, one book; after each step what they hold and spent is within the limit."""

    url: str
    calls: Bundle[Running] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.connection = psycopg.Connection[dict[str, Any]].connect(self.url, autocommit=True, row_factory=dict_row)
        for table in ("budgets", "budget_windows", "budget_leases", "budget_holders", "budget_postings"):
            self.connection.execute(f"truncate {table}".encode())
        self.limit = self.highest = 0
        self.spent = 0
        """What calls truly cost, worst cases of the lost ones included."""
        self.workers: list[Worker] = []
        self.born = 0
        self.recalls = 0

    def teardown(self) -> None:
        self.connection.close()

    @initialize(limit=st.integers(0, 400), workers=st.integers(1, 4))
    def begin(self, limit: int, workers: int) -> None:
        self.limit = self.highest = limit
        self.connection.execute(
            "insert into budgets (tenant_id, budget_id, scope, limit_nanousd, span, created_by)"
            " values (%s, %s, '{}', %s, 'lifetime', 'test')",
            (TENANT, BUDGET, limit),
        )
        for _ in range(workers):
            self.start_worker()

    def start_worker(self) -> None:
        self.born += 1
        self.workers.append(Worker(f"wrk_{self.born}", self.terms))

    @property
    def terms(self) -> Terms:
        return Terms(tenant_id=TENANT, id=BUDGET, limit=NanoUSD(self.limit), span="lifetime")

    def pick(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    @rule(target=calls, number=st.integers(0, 9), amount=AMOUNTS, waits=st.booleans())
    def reserve(self, number: int, amount: int, waits: bool) -> Running:
        """Reserve from what is at hand; a call that waits asks the book once."""
        worker = self.pick(number)
        found = worker.vault.take([worker.purse], amount, 0)
        if isinstance(found, Purse) and waits:
            worker.vault.wait([worker.purse], amount)
            self.sync(worker)
            worker.vault.wait_no_more([worker.purse], amount)
            found = worker.vault.take([worker.purse], amount, 0)
        call = Running(worker, [] if isinstance(found, Purse) else found, amount)
        if call.shares:
            worker.running.append(call)
        return call

    @rule(call=consumes(calls), share=st.floats(0, 1))
    def settle(self, call: Running, share: float) -> None:
        """End a call at any price up to its worst case."""
        if call not in call.worker.running:
            return
        call.worker.running.remove(call)
        cost = int(call.amount * share)
        self.spent += cost
        self.born += 1
        charges = call.worker.vault.settle(call.shares, cost, 1_700_000_000_000_000)
        call.worker.journal += [(f"call_{self.born}", charge) for charge in charges]

    @rule(number=st.integers(0, 9), fate=st.sampled_from(["taken", "taken", "reply lost", "request lost"]))
    def exchange(self, number: int, fate: str) -> None:
        self.sync(self.pick(number), fate)

    @rule(number=st.integers(0, 9))
    def recall(self, number: int) -> None:
        """A notification comes; others are lost."""
        self.pick(number).vault.recall((TENANT, BUDGET, ""), 0)

    @rule(number=st.integers(0, 9), part=st.integers(1, 3), twice=st.booleans())
    def ship(self, number: int, part: int, twice: bool) -> None:
        """Some of a journal is shipped, perhaps twice."""
        worker = self.pick(number)
        batch = worker.journal[: max(1, len(worker.journal) // part)]
        for _ in range(1 + twice):
            self.merge(worker.name, batch)
        worker.journal = worker.journal[len(batch) :]

    @rule(number=st.integers(0, 9), is_lost=st.booleans())
    def kill(self, number: int, is_lost: bool) -> None:
        """A worker dies; its journal is shipped to its end, or lost with its machine and written off."""
        worker = self.pick(number)
        self.workers.remove(worker)
        pledges = worker.pledges()
        worker.running.clear()
        if not is_lost:
            self.spent += sum(charge.covered for _, charge in pledges)
            self.merge(worker.name, [*worker.journal, *pledges])
        else:
            self.spent -= sum(charge.covered for _, charge in worker.journal)
        (row,) = self.connection.execute("select budgets_end(%s, %s) as amount", (worker.name, is_lost)).fetchall()
        if is_lost:
            self.spent += row["amount"]
        self.start_worker()

    @rule(limit=st.integers(0, 400))
    def change_limit(self, limit: int) -> None:
        self.limit, self.highest = limit, max(self.highest, limit)
        self.connection.execute("update budgets set limit_nanousd = %s", (limit,))

    @invariant()
    def nothing_is_overspent(self) -> None:
        """Σ true cost and Σ of all that is held are within the highest limit that there ever was."""
        held = sum(
            (lease.available + lease.reserved if (lease := worker.purse.lease) is not None else 0)
            + sum(charge.covered for _, charge in worker.journal)
            for worker in self.workers
        )
        unshipped = sum(charge.covered for worker in self.workers for _, charge in worker.journal)
        assert self.spent + held - unshipped <= self.highest
        for row in self.connection.execute("select * from budget_windows").fetchall():
            leased = self.connection.execute("select coalesce(sum(amount), 0) as n from budget_leases").fetchone()
            assert leased is not None and leased["n"] == row["granted"]
            assert row["spent"] + row["granted"] <= self.highest

    def sync(self, worker: Worker, fate: str = "taken") -> None:
        worker.vault.wait([worker.purse], 0)
        worker.vault.wait_no_more([worker.purse], 0)
        asks = worker.vault.ask(0)
        if fate == "request lost":
            worker.vault.lost(asks)
            return
        reply = self.book(worker.name, list(asks.values()))
        if fate == "reply lost":
            worker.vault.lost(asks)
        else:
            worker.vault.answer(asks, reply, 0, 0)

    def book(self, holder: str, asks: list[Ask]) -> Reply:
        text = msgspec.json.encode(asks).decode()
        row = self.connection.execute(
            QUERIES["sync"], {"holder": holder, "asks": text, "live_us": 5_000_000}
        ).fetchone()
        assert row is not None
        return msgspec.json.decode(row["reply"], type=Reply)

    def merge(self, holder: str, charges: list[tuple[str, Charge]]) -> None:
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

    def finish(self) -> None:
        """When all has ended and is shipped, what is left can be had to the last nano-dollar, by whoever asks."""
        for worker in self.workers:
            for call in list(worker.running):
                self.settle_now(worker, call)
            self.merge(worker.name, worker.journal)
            worker.journal = []
            worker.vault.recall((TENANT, BUDGET, ""), 0)
        for _ in range(2):
            for worker in self.workers:
                worker.vault.close()
                self.sync(worker)
        left = self.limit - self.spent
        worker = self.workers[0]
        if left > 0:
            worker.vault.wait([worker.purse], left)
            self.sync(worker)
            worker.vault.wait_no_more([worker.purse], left)
            assert not isinstance(worker.vault.take([worker.purse], left, 0), Purse), "a call that fits is admitted"
        assert isinstance(worker.vault.take([worker.purse], 1, 0), Purse), "and not one nano-dollar more"
        (audit,) = self.connection.execute(cast(Any, QUERIES["audit"]), {"tenant_id": TENANT}).fetchall()
        assert audit["differing"] == 0

    def settle_now(self, worker: Worker, call: Running) -> None:
        worker.running.remove(call)
        worker.vault.settle(call.shares, 0, 0)


class Checked(EscrowMachine):
    """Ends each run with what must hold then."""

    def teardown(self) -> None:
        try:
            if self.workers:
                self.finish()
        finally:
            super().teardown()


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Checked]]:
    EscrowMachine.url = database_url
    yield Checked


def test_budgets_hold_whatever_happens(machine: type[Checked]) -> None:
    """Workers, crashes, lost notifications, doubled shipments, changed limits: invariant 1 holds at each step."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
