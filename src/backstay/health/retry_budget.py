"""Owns how many retries a target may get: a token bucket that its successes fill. Pure.

Partial failure is ridden out, an outage is never amplified: with no successes there is soon nothing left to spend.
Source: Finagle's RetryBudget, https://twitter.github.io/finagle/guide/Clients.html#retries (2026).
"""

_PER_SUCCESS = 1.0
"""Sustains one retry for each success: enough while at least half of all tries succeed, as breakers stay closed."""
_LARGEST = 20.0
_FIRST = 10.0


class RetryBudget:
    """The retries that one target has left."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = _FIRST

    @property
    def left(self) -> float:
        return self._tokens

    def earn(self) -> None:
        """Note a success."""
        self._tokens = min(_LARGEST, self._tokens + _PER_SUCCESS)

    def has_one(self) -> bool:
        """Whether there is a retry left."""
        return self._tokens >= 1.0

    def spend(self) -> None:
        """Take one retry. There must be one."""
        self._tokens -= 1.0
