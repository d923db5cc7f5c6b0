"""Owns the gate of one worker: calls wait here for their admission, and give their place back when they end."""

import asyncio
import random
from collections.abc import Mapping

from backstay.core.caller import PRIORITIES, Priority
from backstay.core.clock import Clock
from backstay.core.errors import Overloaded
from backstay.gateway.admission import REFUSALS, Admission, Capacity, Refusal, Ticket

_NS_PER_S = 1_000_000_000

_RETRY_AFTER_S: Mapping[Priority, float] = {"interactive": 1.0, "batch": 5.0}
"""About when a refused call should come again. SDKs wait exactly as long as they are told: each is told otherwise."""

_REASONS: Mapping[Refusal, str] = {
    "calls": "all its calls are taken",
    "bytes": "the bytes that it may hold at once are taken",
    "share": "the share of calls of priority `batch` is taken",
    "displaced": "too many calls of this tenant wait",
    "waited": "a place did not become free in time",
}


class Gate:
    """Lets calls in, one by one, as far as there is room."""

    def __init__(self, capacity: Capacity, clock: Clock):
        self.admission = Admission(capacity)
        self.sheds: dict[tuple[Priority, Refusal], int] = {(who, why): 0 for who in PRIORITIES for why in REFUSALS}
        self.waits = 0
        self.waited_ns = 0
        self._clock = clock
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}

    async def enter(self, tenant_id: str, priority: Priority, size_bytes: int) -> Ticket:
        """Let a call in, after a short wait if need be. Give the ticket back to ``leave``, however the call ends.

        Raises:
            Overloaded: There is no room. Nothing is held.
        """
        now_ns = self._clock.monotonic_ns()
        ticket = self.admission.ask(tenant_id, priority, size_bytes, now_ns)
        if ticket.state == "waiting":
            self._wake()  # one of a tenant with more calls in the queue may have made place
            await self._wait(ticket, now_ns)
        if ticket.refusal is not None:
            raise self._shed(priority, ticket.refusal)
        return ticket

    def grow(self, ticket: Ticket, priority: Priority, more_bytes: int) -> None:
        """Let a call hold more: the next piece of a body whose length was not announced.

        Raises:
            Overloaded: There is no room for it. The call holds what it held.
        """
        if not self.admission.grow(ticket, more_bytes):
            raise self._shed(priority, "bytes")

    def hold(self, ticket: Ticket, more_bytes: int) -> None:
        """Count a part of a call's answer: it is remembered until the call is recorded."""
        self.admission.hold(ticket, more_bytes)

    def leave(self, ticket: Ticket) -> None:
        """Give back all that a call holds. A second time changes nothing."""
        self.admission.leave(ticket)
        if self._waiting:
            self._wake()

    async def emptied(self, limit_s: float) -> bool:
        """Wait until no call is in; ``False`` if some are when the time is over."""
        give_up_ns = self._clock.monotonic_ns() + round(limit_s * _NS_PER_S)
        while self.admission.calls and self._clock.monotonic_ns() < give_up_ns:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return not self.admission.calls

    async def _wait(self, ticket: Ticket, since_ns: int) -> None:
        loop = asyncio.get_running_loop()
        woken = self._waiting[ticket] = loop.create_future()
        timer = loop.call_later((ticket.deadline_ns - since_ns) / _NS_PER_S, self._expire, ticket.deadline_ns)
        try:
            await woken
        except asyncio.CancelledError:
            self.leave(ticket)
            raise
        finally:
            del self._waiting[ticket]
            timer.cancel()
            self.waits += 1
            self.waited_ns += self._clock.monotonic_ns() - since_ns

    def _expire(self, deadline_ns: int) -> None:
        self.admission.expire(deadline_ns)
        self._wake()

    def _wake(self) -> None:
        for ticket in self.admission.take_decided():
            woken = self._waiting[ticket]
            if not woken.done():
                woken.set_result(None)

    def _shed(self, priority: Priority, why: Refusal) -> Overloaded:
        self.sheds[priority, why] += 1
        retry_after_s = _RETRY_AFTER_S[priority] * random.uniform(0.5, 1.5)
        return Overloaded(
            f"This worker has no room for the call now: {_REASONS[why]}. Try again shortly.",
            retry_after_s=retry_after_s,
        )
