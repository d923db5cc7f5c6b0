"""Owns the interruption of exchanges that take too long: one timer for nearly all that are open.

A timer of its own for each would be an eighth of what an exchange costs.
"""

import asyncio
from types import TracebackType

from backstay.providers.types import Timeouts

_LONG_S = 5.0
"""Who may wait for at least so long shares the timer; others have one of their own, which is exact."""
_PERIOD_S = 0.1
"""How often the shared timer looks, and how late it may be."""


class Deadlines:
    """Those of all open exchanges of one event loop that share a timer."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.waiting: dict[Deadline, None] = {}
        """Those that ring when they are due, or soon after."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def watch(self, deadline: "Deadline") -> None:
        """Ring when it is due, or soon after, unless it is taken out of ``waiting`` first."""
        self.waiting[deadline] = None
        if self._timer is None:
            self._timer = self.loop.call_later(_PERIOD_S, self._look)

    def _look(self) -> None:
        now_s = self.loop.time()
        for deadline in [each for each in self.waiting if each.next_s <= now_s]:
            del self.waiting[deadline]
            deadline.ring()
        self._timer = self.loop.call_later(_PERIOD_S, self._look) if self.waiting else None


class Deadline:
    """When one exchange has taken too long, in the event loop's time.

    As a context it bounds what is awaited inside by ``next_s``, and raises ``TimeoutError`` then. It may be entered
    again and again, by one task at a time.
    """

    __slots__ = (
        "_all", "_cancelling", "_has_rung", "_idle_s", "_is_long", "_loop", "_task", "_timer", "_total_s", "next_s",
    )  # fmt: skip

    def __init__(self, deadlines: Deadlines, timeouts: Timeouts, *, stream: bool):
        self._all, self._loop = deadlines, deadlines.loop
        now_s = self._loop.time()
        self._total_s = now_s + timeouts.total_s
        self._idle_s = timeouts.idle_s
        self._timer: asyncio.TimerHandle | None = None
        self._wait_until(now_s, now_s + timeouts.first_token_s if stream else self._total_s)

    def is_over(self) -> bool:
        """Whether the whole exchange has taken too long."""
        return self._loop.time() >= self._total_s

    def piece_came(self) -> None:
        """Begin the wait for the piece of a stream after this one."""
        now_s = self._loop.time()
        self._wait_until(now_s, now_s + self._idle_s)

    def ring(self) -> None:
        """Interrupt the task that waits."""
        self._has_rung = True
        self._task.cancel()

    def _wait_until(self, now_s: float, moment_s: float) -> None:
        self.next_s = min(moment_s, self._total_s)
        self._is_long = self.next_s - now_s >= _LONG_S

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None, "only a task can be interrupted"
        self._task, self._cancelling, self._has_rung = task, task.cancelling(), False
        if self._is_long:
            self._all.watch(self)
        else:
            self._timer = self._loop.call_at(self.next_s, self.ring)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._timer is None:
            self._all.waiting.pop(self, None)
        else:
            self._timer.cancel()
            self._timer = None
        # A task that somebody else has cancelled too stays cancelled: as asyncio's own timeouts have it.
        if self._has_rung and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
