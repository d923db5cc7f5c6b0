"""Owns who is let in when there is not room for all: calls and bytes in flight, priorities, a short fair queue. No I/O.

An interactive call that finds no room waits for a moment; a batch call is refused at once, and is let in only while
less than its share is taken, so that load is shed from the lowest priority first. Calls with a short body never wait
for bytes that a long body holds: a part of the bytes is theirs alone, and they have a queue of their own.
"""

from typing import Literal, get_args

import msgspec

from backstay.core.caller import Priority
from backstay.gateway.fair_queue import FairQueue

Refusal = Literal["calls", "bytes", "share", "displaced", "waited"]
"""Why a call is not let in. ``calls``, ``bytes``: all are taken and the queue is full. ``share``: the part that batch
calls may take is taken. ``displaced``: its tenant had the most calls in a full queue. ``waited``: long enough."""

REFUSALS: tuple[Refusal, ...] = get_args(Refusal)

SHORT_BYTES = 64 * 1024
"""A body up to here is short."""

_SHORTS_PART = 16
"""One part in so many of the bytes is kept for short bodies."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker takes at once."""

    calls: int
    size_bytes: int
    batch_percent: int = 70
    """Share of both that must not be taken yet for a batch call to be let in."""
    waiting: int = 64
    """Longest queue."""
    wait_ns: int = 300_000_000
    """Longest wait."""

    @property
    def longest_bytes(self) -> int:
        """The longest body that can ever be let in."""
        return max(self.size_bytes - self.size_bytes // _SHORTS_PART, min(self.size_bytes, SHORT_BYTES))


class Ticket(msgspec.Struct, eq=False, kw_only=True):
    """One call's place: what it holds, or that it waits, or why it is refused."""

    tenant_id: str
    size_bytes: int
    deadline_ns: int = 0
    state: Literal["in", "waiting", "refused", "left"] = "waiting"
    refusal: Refusal | None = None


class Admission:
    """The calls that are in, and those that wait.

    Invariants (``tests/gateway/test_admission.py``): what is let in never goes beyond the capacity; what leaves gives
    back all that it held; nobody waits who could be in; in a queue, tenants take turns.
    """

    def __init__(self, capacity: Capacity):
        self.capacity = capacity
        self.calls = 0
        self.size_bytes = 0
        self._shares = (capacity.calls * capacity.batch_percent, capacity.size_bytes * capacity.batch_percent)
        self._shorts, self._longs = FairQueue[Ticket](), FairQueue[Ticket]()
        self._longs_turn = False
        self._decided: list[Ticket] = []

    @property
    def waiting(self) -> int:
        return self._shorts.length + self._longs.length

    def ask(self, tenant_id: str, priority: Priority, size_bytes: int, now_ns: int) -> Ticket:
        """Ask for a place that holds ``size_bytes``. The ticket says whether it is in, waits or is refused."""
        ticket = Ticket(tenant_id=tenant_id, size_bytes=size_bytes)
        if priority == "batch":
            if self._is_share_taken() or not self._fits(size_bytes):
                return _refuse(ticket, "share")
            return self._let_in(ticket)
        queue = self._queue(ticket)
        if not queue.length and self._fits(size_bytes):
            return self._let_in(ticket)
        if size_bytes > self.capacity.longest_bytes or not self._find_place(tenant_id):
            return _refuse(ticket, "calls" if self.calls >= self.capacity.calls else "bytes")
        ticket.deadline_ns = now_ns + self.capacity.wait_ns
        queue.add(ticket)
        return ticket

    def grow(self, ticket: Ticket, more_bytes: int) -> bool:
        """Let a call that is in hold more, and return whether there was room."""
        if not self._has_bytes(ticket.size_bytes + more_bytes, more_bytes):
            return False
        self.hold(ticket, more_bytes)
        return True

    def hold(self, ticket: Ticket, more_bytes: int) -> None:
        """Count what a call holds that cannot be refused any more, such as its answer: others find less room."""
        if ticket.state == "in":
            ticket.size_bytes += more_bytes
            self.size_bytes += more_bytes

    def leave(self, ticket: Ticket) -> None:
        """Give back all that a call holds, or its place in the queue. A second time changes nothing."""
        if ticket.state == "in":
            self.calls -= 1
            self.size_bytes -= ticket.size_bytes
        elif ticket.state == "waiting":
            self._queue(ticket).remove(ticket)
        else:
            return
        ticket.state = "left"
        if self.waiting:
            self._let_waiting_in()

    def expire(self, now_ns: int) -> None:
        """Refuse those that have waited long enough."""
        for queue in (self._shorts, self._longs):
            for ticket in [each for each in queue if each.deadline_ns <= now_ns]:
                queue.remove(ticket)
                self._decided.append(_refuse(ticket, "waited"))
        self._let_waiting_in()

    def take_decided(self) -> list[Ticket]:
        """Take the tickets that waited and are in or refused since this was asked last."""
        decided, self._decided = self._decided, []
        return decided

    def _fits(self, size_bytes: int) -> bool:
        return self.calls < self.capacity.calls and self._has_bytes(size_bytes, size_bytes)

    def _has_bytes(self, size_bytes: int, more_bytes: int) -> bool:
        """Whether a body of ``size_bytes`` may take ``more_bytes`` more."""
        limit = self.capacity.size_bytes if size_bytes <= SHORT_BYTES else self.capacity.longest_bytes
        return self.size_bytes + more_bytes <= limit

    def _is_share_taken(self) -> bool:
        calls, size_bytes = self._shares
        return self.waiting > 0 or self.calls * 100 >= calls or self.size_bytes * 100 >= size_bytes

    def _queue(self, ticket: Ticket) -> FairQueue[Ticket]:
        return self._shorts if ticket.size_bytes <= SHORT_BYTES else self._longs

    def _let_in(self, ticket: Ticket) -> Ticket:
        ticket.state = "in"
        self.calls += 1
        self.size_bytes += ticket.size_bytes
        return ticket

    def _let_waiting_in(self) -> None:
        """Let in all that fit, the two queues taking turns; where the first of one does not fit, the other goes on."""
        while True:
            queues = (self._longs, self._shorts) if self._longs_turn else (self._shorts, self._longs)
            for queue in queues:
                first = queue.first()
                if first is not None and self._fits(first.size_bytes):
                    queue.remove(first)
                    self._decided.append(self._let_in(first))
                    self._longs_turn = queue is self._shorts
                    break
            else:
                return

    def _find_place(self, tenant_id: str) -> bool:
        """Find a place in the queue; in a full one, by refusing the last of the tenant that has the most there."""
        if self.waiting < self.capacity.waiting:
            return True
        counts = self._shorts.counts() + self._longs.counts()
        counts[tenant_id] += 1
        ((greediest, most),) = counts.most_common(1)
        if most <= counts[tenant_id]:
            return False
        queue = max((self._shorts, self._longs), key=lambda each: each.counts()[greediest])
        last = queue.last_of(greediest)
        queue.remove(last)
        self._decided.append(_refuse(last, "displaced"))
        self._let_waiting_in()
        return True


def _refuse(ticket: Ticket, why: Refusal) -> Ticket:
    ticket.state, ticket.refusal = "refused", why
    return ticket
