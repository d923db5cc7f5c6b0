"""Owns how many calls a target may have open: additive increase, multiplicative decrease. Pure.

There is no limit until the target says that it is overloaded. Latency is no signal here: the time of a model's answer
says more about its length than about the provider's load (the breaker watches for slowness). Nor is an error of a
target that at the same time answers calls that were begun with as many open: it fails, but not for want of room.
Source: the AIMD limit of https://github.com/Netflix/concurrency-limits (2026).
"""

_BACKOFF = 0.7
_LEAST = 1.0
_CALM_S = 1.0
"""One decrease a second: the calls that were open together fail together, and are one sign, not many."""
_LIFTED = 10_000.0
"""A limit that has grown to this is none."""
_PROVED_S = 1.0
"""What a target has taken counts for so long, and up to twice as long."""


class ConcurrencyLimit:
    """The limit of one target, in open calls. ``level``: how many were open when a call was begun, itself included."""

    __slots__ = ("_decreased_at_s", "_limit", "_proved", "_proved_before", "_proved_since_s")

    def __init__(self) -> None:
        self._limit: float | None = None
        self._decreased_at_s = -_CALM_S
        self._proved = 0
        self._proved_before = 0
        self._proved_since_s = 0.0

    @property
    def limit(self) -> int | None:
        """The most calls that may be open; ``None``: any number."""
        return None if self._limit is None else int(self._limit)

    def has_room(self, in_flight: int) -> bool:
        """Whether one more call may be opened."""
        return self._limit is None or in_flight < int(self._limit)

    def on_success(self, now_s: float, level: int) -> None:
        """Grow by one for as many successes as the limit, while it is used; at once to what was proved possible."""
        self._turn_page(now_s)
        self._proved = max(self._proved, level)
        if self._limit is None:
            return
        if level >= self._limit / 2:
            self._limit = max(self._limit + 1.0 / self._limit, float(level))
        if self._limit >= _LIFTED:
            self._limit = None

    def on_overload(self, now_s: float, level: int) -> None:
        """Shrink: the target has refused a call because it has too much to do, or did not answer in time."""
        self._turn_page(now_s)
        proved = max(self._proved, self._proved_before)
        if now_s - self._decreased_at_s < _CALM_S or level <= proved:
            return
        self._decreased_at_s = now_s
        base = float(level) if self._limit is None else min(self._limit, float(level))
        self._limit = max(_LEAST, base * _BACKOFF, float(proved))

    def _turn_page(self, now_s: float) -> None:
        """Forget what was proved too long ago."""
        age_s = now_s - self._proved_since_s
        if age_s >= _PROVED_S:
            self._proved_before = self._proved if age_s < 2 * _PROVED_S else 0
            self._proved, self._proved_since_s = 0, now_s
