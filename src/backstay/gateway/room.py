"""Owns the calls that wait until one of their targets has room: each is woken when its turn may have come."""

import asyncio
from collections.abc import Callable, Mapping

from backstay.core.caller import PRIORITIES, Priority
from backstay.core.errors import TargetsUnavailable
from backstay.core.ports import AddFamily, Values
from backstay.gateway.lines import Lines, Waiter

MOST_WAITING = 1_000
"""Calls of one worker. Past this one is refused at once: what could not be sent for so many will not be for it."""


class Room:
    """Where calls wait for one another to end. Counts are since the worker began, by priority."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self.lines = Lines(most)
        self.waits: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self.waited_s: dict[Priority, float] = dict.fromkeys(PRIORITIES, 0.0)
        self.refusals: dict[Priority, int] = dict.fromkeys(PRIORITIES, 0)
        self._turns: dict[Waiter, asyncio.Future[None]] = {}

    async def wait(self, waiter: Waiter, targets: frozenset[str], for_s: float) -> None:
        """Wait until it may be the call's turn at one of these targets, or for so many seconds.

        Its place is kept until ``leave``, which must follow.

        Raises:
            TargetsUnavailable: Too many wait. The call has no place any more.
        """
        self._stand(waiter, targets)
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        turn = self._turns[waiter] = loop.create_future()
        try:
            async with asyncio.timeout(for_s):
                await turn
        except TimeoutError:
            pass
        finally:
            del self._turns[waiter]
            self.waited_s[waiter.priority] += loop.time() - since_s

    def leave(self, waiter: Waiter) -> None:
        """Give a place up: the call is sent, or nobody waits for it any more. A second time changes nothing."""
        for target in self.lines.leave(waiter):
            self.wake(target)

    def wake(self, target: str) -> None:
        """Note that a target may have room: whose turn it is there looks. Once that one is sent, the next one does."""
        first = self.lines.first(target)
        if first is not None and (turn := self._turns.get(first)) is not None and not turn.done():
            turn.set_result(None)

    def _stand(self, waiter: Waiter, targets: frozenset[str]) -> None:
        if not waiter.targets:
            self._make_place(waiter)
            self.waits[waiter.priority] += 1
        for target in self.lines.stand(waiter, targets):
            self.wake(target)

    def _make_place(self, newcomer: Waiter) -> None:
        gone = self.lines.who_goes(newcomer)
        if gone is None:
            return
        self.refusals[gone.priority] += 1
        refusal = TargetsUnavailable("Too many calls wait for room at their targets. Try again shortly.")
        if gone is newcomer:
            raise refusal
        self.leave(gone)
        if (turn := self._turns.get(gone)) is not None and not turn.done():
            turn.set_exception(refusal)


def watch(room: Room, add_family: AddFamily) -> None:
    """Show who waits, and for how long calls have waited."""

    def by_priority(counts: Mapping[Priority, float]) -> Callable[[], Values]:
        return lambda: [({"priority": priority}, n) for priority, n in counts.items()]

    def waiting() -> Values:
        return [({"target": target}, n) for target, n in room.lines.lengths().items()]

    add_family("backstay_room_waiting", "Calls that wait for a target.", "gauge", lambda: [({}, len(room.lines))])
    add_family("backstay_target_waiting", "Calls that wait for it.", "gauge", waiting)
    add_family("backstay_room_waits_total", "Calls that waited for a target.", "counter", by_priority(room.waits))
    add_family("backstay_room_wait_seconds_total", "How long they waited.", "counter", by_priority(room.waited_s))
    add_family(
        "backstay_room_refusals_total", "Calls for which too many waited.", "counter", by_priority(room.refusals)
    )
