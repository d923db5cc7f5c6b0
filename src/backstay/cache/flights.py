"""Owns one call for many: those who ask the same at the same time wait for one of them, the leader."""

import asyncio
import copy
from collections import deque
from collections.abc import Coroutine
from typing import Any, Literal

from backstay.cache.types import Answer, HitKind
from backstay.core.errors import BackstayError

_MOST_LEADERS = 3
"""How many leaders of one flight may fail before those who still wait are told the last one's error."""

Turn = tuple[Answer, HitKind] | Literal["lead"]


class Flight:
    """One question on its way: a leader, and those who wait for its answer, in the order in which they came."""

    def __init__(self, flights: dict[bytes, "Flight"], key: bytes):
        self._flights = flights
        self._key = key
        self._waiting: deque[asyncio.Future[Turn]] = deque()
        self._failures = 0
        self._abandoned: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_claimed = False
        """Whether it is this worker's among all workers."""

    @property
    def followers(self) -> int:
        """How many wait for it now."""
        return sum(not turn.done() for turn in self._waiting)

    def take_off(self, patience_s: float) -> None:
        """Begin to ask. A leader that takes longer than this is joined by the next in line: the first answer counts."""
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(patience_s, self._hurry, patience_s)

    async def follow(self) -> Turn:
        """Wait for the answer, or for one's turn to lead.

        Raises:
            BackstayError: The leader failed, and to ask again would fail as well.
        """
        turn: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            turn.cancel()
            self._left(turn)
            raise

    def succeed(self, answer: Answer, kind: HitKind = "hit") -> None:
        """Give the answer to all who wait."""
        self._land()
        for turn in self._waiting:
            if not turn.done():
                turn.set_result((answer, kind))

    def fail(self, error: BackstayError | None = None) -> None:
        """Let the next in line lead. An error that asking again would not mend is told to all who wait.

        Args:
            error: ``None``: the leader went away, and nothing is known.
        """
        if error is not None:
            self._failures += 1
            if not error.retryable or self._failures >= _MOST_LEADERS:
                self._tell(error)
        if not self._promote():
            self._land()

    def abandon(self, work: asyncio.Task[None]) -> None:
        """Note that the leader's caller is gone: ``work`` goes on while anybody waits for it."""
        self._abandoned = work

    @property
    def is_abandoned(self) -> bool:
        """Whether the work goes on without its caller."""
        return self._abandoned is not None

    @property
    def has_landed(self) -> bool:
        """Whether nobody is on it any more: who asks from now on begins anew."""
        return self._flights.get(self._key) is not self

    def _promote(self) -> bool:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result("lead")
                return True
        return False

    def _hurry(self, patience_s: float) -> None:
        if self._promote():
            self.take_off(patience_s)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _left(self, turn: asyncio.Future[Turn]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None and turn.result() == "lead":
            self.fail()  # its turn had come, and it did not take it
        if self._abandoned is not None and not self.followers:
            self._abandoned.cancel()

    def _tell(self, error: BackstayError) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(copy.copy(error))
        self._waiting.clear()

    def _land(self) -> None:
        self._stop_timer()
        if self._flights.get(self._key) is self:
            del self._flights[self._key]


async def carry(flight: Flight, work: Coroutine[Any, Any, None]) -> None:
    """Do the leader's work so that it outlives its caller while others wait for it.

    Raises:
        asyncio.CancelledError: The caller went away. Where others wait, the work goes on; else it was cancelled too.
    """
    task = asyncio.create_task(work, name="leading call")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.done():
            raise
        if flight.followers:
            flight.abandon(task)
        else:
            task.cancel()
            await asyncio.wait([task])
        raise
