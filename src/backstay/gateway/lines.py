"""Owns who waits for room at which targets, and whose turn it is at each. Pure: no I/O, no clock.

A call stands in line at every target that could take it. Interactive calls go before batch calls, tenants take turns,
and the calls of one tenant go as they came. There is a bound on all that wait: past it, the last of the tenant that has
the most there goes, batch calls first.
"""

from collections.abc import Mapping

import msgspec

from backstay.core.caller import PRIORITIES, Priority
from backstay.gateway.fair_queue import FairQueue

_RANKS: Mapping[Priority, int] = {priority: rank for rank, priority in enumerate(PRIORITIES)}


class Waiter(msgspec.Struct, eq=False, kw_only=True):
    """One call that may have to wait."""

    tenant_id: str
    priority: Priority
    targets: frozenset[str] = frozenset()
    """Where it stands in line now, by name."""


class Lines:
    """Those that wait, by target.

    Invariants (``tests/gateway/test_lines.py``): never more than ``most``; at a target, no tenant goes twice while
    another one of its priority waits there, and no batch call goes while an interactive one does.
    """

    def __init__(self, most: int):
        self._most = most
        self._all = _Line()
        self._lines: dict[str, _Line] = {}

    def __len__(self) -> int:
        return self._all.length

    def lengths(self) -> dict[str, int]:
        """Count those that wait for each target."""
        return {target: line.length for target, line in self._lines.items()}

    def stand(self, waiter: Waiter, targets: frozenset[str]) -> list[str]:
        """Let a call stand in line at just these targets, one at least. Where it stands already, it keeps its place.

        Returns:
            Where it was the first and is not any more: there, it is another one's turn.
        """
        if not waiter.targets:
            self._all.add(waiter)
        for target in targets - waiter.targets:
            self._lines.setdefault(target, _Line()).add(waiter)
        left, waiter.targets = waiter.targets - targets, targets
        return [target for target in left if self._step_out(waiter, target)]

    def leave(self, waiter: Waiter) -> list[str]:
        """Let a call stand nowhere any more. Returns where it was the first."""
        if not waiter.targets:
            return []
        self._all.remove(waiter)
        left, waiter.targets = waiter.targets, frozenset()
        return [target for target in left if self._step_out(waiter, target)]

    def first(self, target: str) -> Waiter | None:
        """Return whose turn it is at a target."""
        line = self._lines.get(target)
        return None if line is None else line.first()

    def is_turn(self, target: str, priority: Priority, waiter: Waiter | None) -> bool:
        """Whether a call may take a free place at a target. One that does not stand there goes behind its equals."""
        if target not in self._lines:
            return True
        first = self.first(target)
        if first is None or first is waiter:
            return True
        is_there = waiter is not None and target in waiter.targets
        return not is_there and _RANKS[priority] < _RANKS[first.priority]

    def who_goes(self, newcomer: Waiter) -> Waiter | None:
        """Choose who must go before a newcomer may stand; ``None``: there is place. It may be the newcomer itself."""
        if self._all.length < self._most:
            return None
        lowest, queue = self._all.lowest()
        counts = queue.counts()
        if newcomer.priority == lowest:
            counts[newcomer.tenant_id] += 1
        elif _RANKS[newcomer.priority] > _RANKS[lowest]:
            return newcomer
        ((greediest, most),) = counts.most_common(1)
        if newcomer.priority == lowest and most <= counts[newcomer.tenant_id]:
            return newcomer
        return queue.last_of(greediest)

    def _step_out(self, waiter: Waiter, target: str) -> bool:
        line = self._lines[target]
        was_first = line.first() is waiter
        line.remove(waiter)
        if not line.length:
            del self._lines[target]
        return was_first


class _Line:
    """Those that wait for one thing, by priority."""

    def __init__(self) -> None:
        self.length = 0
        self._queues = {priority: FairQueue[Waiter]() for priority in PRIORITIES}

    def add(self, waiter: Waiter) -> None:
        self._queues[waiter.priority].add(waiter)
        self.length += 1

    def remove(self, waiter: Waiter) -> None:
        self._queues[waiter.priority].remove(waiter)
        self.length -= 1

    def first(self) -> Waiter | None:
        return next((first for queue in self._queues.values() if (first := queue.first()) is not None), None)

    def lowest(self) -> tuple[Priority, FairQueue[Waiter]]:
        """Return the lowest priority that somebody waits with, and who does."""
        return next(
            (priority, self._queues[priority]) for priority in reversed(PRIORITIES) if self._queues[priority].length
        )
