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
    """The machine's own clocks. Each call asks them a dozen times: nothing is between them and who asks."""

    now_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)
