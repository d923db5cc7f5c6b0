"""The protocol of claims as a state machine, over a real Postgres: what holds in whatever order things happen."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backstay.idempotency import KeptAnswer, Slot, Terms, Wanted
from backstay.idempotency.store import ClaimStore
from backstay.idempotency.types import IdempotencyKeyReused
from backstay.store import Database

T = TypeVar("T")
LEASE_S = 1000
bodies = st.sampled_from([b"one", b"another"])


class Protocol(RuleBasedStateMachine):
    """Workers claim one key, answer, fail, die and are resolved; time passes as Postgres sees it.

    ``alive``: calls that are under way. ``dead``: those whose worker was killed, with the claim perhaps still there.
    """

    database_url = ""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.database = Database(self.database_url, max_connections=1)
        self.store = ClaimStore(self.database, Terms(lease_s=LEASE_S))
        self.slot = Slot("acme", "key_1", os.urandom(8).hex())
        self.alive: list[Wanted] = []
        self.dead: list[Wanted] = []
        self.answered: Wanted | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @rule(body=bodies)
    def call(self, body: bytes) -> None:
        """A call comes: it is the only one, or it waits, or it is a repeat of the answered one, or it is refused."""
        want = Wanted.of(self.slot, "/v1/x", body, call_id=os.urandom(8).hex(), trace_id=os.urandom(16).hex())
        holder = next(iter([*self.alive, *([self.answered] if self.answered else [])]), None)
        try:
            found = self.do(self.store.claim(want))
        except IdempotencyKeyReused:
            assert (holder is None and self.dead) or (holder is not None and holder.fingerprint != want.fingerprint)
            return
        if found is True:
            assert holder is None
            self.alive.append(want)
        elif isinstance(found, KeptAnswer):
            assert holder is not None and holder is self.answered and found.trace_id == holder.trace_id
        assert holder is None or holder.fingerprint == want.fingerprint

    @precondition(lambda self: self.alive)
    @rule()
    def answer(self) -> None:
        """The call ends well: its answer is there for good."""
        want = self.alive.pop()
        assert self.do(self.store.keep(self.slot, want.claim_id, KeptAnswer(trace_id=want.trace_id, body=b"x")))
        self.answered = want

    @precondition(lambda self: self.alive)
    @rule()
    def fail(self) -> None:
        """The call ends without an answer."""
        self.do(self.store.release([(self.slot, self.alive.pop().claim_id)]))

    @precondition(lambda self: self.alive)
    @rule()
    def die(self) -> None:
        """The worker is killed."""
        self.dead.append(self.alive.pop())

    @precondition(lambda self: self.dead)
    @rule()
    def resolve(self) -> None:
        """A dead worker's journal is read, however late."""
        self.do(self.store.release([(self.slot, self.dead.pop().claim_id)]))

    @precondition(lambda self: self.dead)
    @rule()
    def come_late(self) -> None:
        """A dead worker's journal had an answer after all: it counts only where nobody took the key over."""
        want = self.dead.pop()
        if self.do(self.store.keep(self.slot, want.claim_id, KeptAnswer(trace_id=want.trace_id, body=b"x"))):
            assert not self.alive and self.answered is None
            self.answered = want

    @rule()
    def let_a_lease_pass(self) -> None:
        """A holder that lives gives word in time, and then a lease passes."""
        holds = [(self.slot, want.claim_id) for want in self.alive]
        assert self.do(self.store.confirm(holds)) == {claim_id for _, claim_id in holds}
        self.do(self._age())

    async def _age(self) -> None:
        async with self.database.system() as connection:
            await connection.execute(
                "update idempotency_keys set contested_at = contested_at - make_interval(secs => %s)", [LEASE_S + 1]
            )

    @invariant()
    def one_call_at_a_time(self) -> None:
        assert len(self.alive) + (self.answered is not None) <= 1

    def teardown(self) -> None:
        self.do(self.database.close())
        self.loop.close()


def test_a_key_has_one_call_at_a_time_and_one_answer(database_url: str) -> None:
    """Whatever happens in whatever order: never two calls at once, never another answer than the first."""

    class Here(Protocol):
        pass

    Here.database_url = database_url
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
