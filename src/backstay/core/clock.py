"""Owns time: the wall clock for what is written down, the monotonic clock for durations."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time. ``backstay.testing.FixedClock`` stands in for it where a test must choose the time."""

    def now_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never jump back; only differences mean something."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()
