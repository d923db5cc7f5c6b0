"""Owns the calls that wait until some target has room: first come, first served, and not too many."""

import asyncio
from collections import deque

from backstay.core.errors import TargetsUnavailable

MOST_WAITING = 1_000
"""Calls of one worker. Past this a call is refused at once: what could not be sent for so many will not be for it."""


class Room:
    """Where calls wait for one another to end."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, for_s: float) -> None:
        """Wait until a call has ended, in turn, or for so many seconds.

        Raises:
            TargetsUnavailable: Too many wait already.
        """
        if len(self._waiting) >= self._most:
            raise TargetsUnavailable(f"{len(self._waiting)} calls wait for room at their targets already. Try again.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(for_s):
                await turn
        except TimeoutError:
            pass
        finally:
            if not turn.done() or turn.cancelled():
                self._forget(turn)

    def wake(self) -> None:
        """Note that a call has ended: the first that waits may look again."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _forget(self, turn: asyncio.Future[None]) -> None:
        try:
            self._waiting.remove(turn)
        except ValueError:
            return  # it was woken at the same moment
