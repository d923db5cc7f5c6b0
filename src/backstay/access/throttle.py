"""Owns the limit on tries to sign in."""

from backstay.core.clock import Clock
from backstay.core.errors import Forbidden

_MOST_NAMES = 20_000


class TooManyTries(Forbidden):
    """Too many tries to sign in. Wait a while, or ask an admin for a link."""

    code = "too_many_tries"
    status = 429
    retryable = True


class Throttle:
    """Counts tries by name, in this worker's memory, and refuses more than ``limit`` within ``window_s`` seconds."""

    def __init__(self, limit: int, window_s: float, clock: Clock):
        self._limit = limit
        self._window_ns = int(window_s * 1e9)
        self._clock = clock
        self._tries: dict[str, tuple[int, int]] = {}

    def take(self, name: str) -> None:
        """Count a try. Raises ``TooManyTries`` with the time to wait; that try does not count."""
        now = self._clock.monotonic_ns()
        began, tries = self._tries.get(name, (now, 0))
        if now - began >= self._window_ns:
            began, tries = now, 0
        if tries >= self._limit:
            raise TooManyTries(retry_after_s=(began + self._window_ns - now) / 1e9)
        self._tries.pop(name, None)
        self._tries[name] = began, tries + 1
        if len(self._tries) > _MOST_NAMES:
            del self._tries[next(iter(self._tries))]

    def forget(self, name: str) -> None:
        """Count from nothing again, after a success."""
        self._tries.pop(name, None)
