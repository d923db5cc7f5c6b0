"""Owns a clock for the cache's tests: the machine's own, and what was added to it by hand."""

from backstay.core.clock import SystemClock


class HandClock(SystemClock):
    """The real time, since Postgres keeps its own, and some."""

    def __init__(self) -> None:
        self._added_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self._added_ns

    def advance(self, seconds: float) -> None:
        self._added_ns += int(seconds * 1e9)
