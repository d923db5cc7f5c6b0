"""Owns how many calls a target may have open: additive increase, multiplicative decrease. Pure.

There is no limit until the target says that it is overloaded. Latency is no signal here: the time of a model's answer
says more about its length than about the provider's load (the breaker watches for slowness).
Source: the AIMD limit of https://github.com/Netflix/concurrency-limits (2026).
"""

_BACKOFF = 0.7
_LEAST = 1.0
_CALM_S = 1.0
"""One decrease a second: the calls that were open together fail together, and are one sign, not many."""
_LIFTED = 10_000.0
"""A limit that has grown to this is none."""


class ConcurrencyLimit:
    """The limit of one target, in open calls."""

    __slots__ = ("_decreased_at_s", "_limit")

    def __init__(self) -> None:
        self._limit: float | None = None
        self._decreased_at_s = -_CALM_S

    @property
    def limit(self) -> int | None:
        """The most calls that may be open; ``None``: any number."""
        return None if self._limit is None else int(self._limit)

    def has_room(self, in_flight: int) -> bool:
        """Whether one more call may be opened."""
        return self._limit is None or in_flight < int(self._limit)

    def on_success(self, in_flight: int) -> None:
        """Grow by one for as many successes as the limit, while it is used."""
        if self._limit is None or in_flight < self._limit / 2:
            return
        self._limit += 1.0 / self._limit
        if self._limit >= _LIFTED:
            self._limit = None

    def on_overload(self, now_s: float, in_flight: int) -> None:
        """Shrink: the target has refused a call because it has too much to do, or did not answer in time."""
        if now_s - self._decreased_at_s < _CALM_S:
            return
        self._decreased_at_s = now_s
        base = float(in_flight) if self._limit is None else min(self._limit, float(in_flight) + 1)
        self._limit = max(_LEAST, base * _BACKOFF)
