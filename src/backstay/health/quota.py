"""Owns what is left of a target's rate limits: from its headers, its `retry-after`, and our own counts. Pure."""

import msgspec

from backstay.core.rate_limit import RateLimit

_REFILL_S = 60.0
"""Providers count by the minute and refill continuously.
Source: https://docs.claude.com/en/api/rate-limits, "token bucket algorithm" (2026-08)."""


class QuotaState(msgspec.Struct, frozen=True, kw_only=True):
    """What a target allows in a minute, and what is left of it now."""

    limit: float
    left: float


class _Bucket:
    """One limit, as far as it is known."""

    __slots__ = ("_at_s", "_left", "_limit", "_parts", "_rate")

    def __init__(self, per_min: float | None):
        self._limit = per_min
        self._left = per_min or 0.0
        self._rate = (per_min or 0.0) / _REFILL_S
        self._at_s: float | None = None
        self._parts: int | None = 1
        """Among how many workers it is divided; ``None``: the target itself tells what is left for all."""

    def divide(self, parts: int) -> None:
        if self._parts is None or self._limit is None:
            return
        scale, used = self._parts / parts, self._limit - self._left
        self._limit, self._rate = self._limit * scale, self._rate * scale
        self._left, self._parts = self._limit - used, parts

    def read(self, now_s: float, reading: RateLimit) -> None:
        self._limit, self._left, self._at_s = reading.limit, reading.remaining, now_s
        missing = reading.limit - reading.remaining
        self._rate = missing / reading.reset_s if reading.reset_s and missing > 0 else reading.limit / _REFILL_S
        self._parts = None

    def take(self, now_s: float, amount: float) -> None:
        if self._limit is not None:
            self._left = self._now(now_s) - amount
            self._at_s = now_s

    def wait_s(self, now_s: float, amount: float) -> float:
        """How long until there is so much. What is more than the whole limit waits until it is full."""
        if self._limit is None:
            return 0.0
        missing = min(amount, self._limit) - self._now(now_s)
        if missing <= 0:
            return 0.0
        return missing / self._rate if self._rate > 0 else _REFILL_S

    def state(self, now_s: float) -> QuotaState | None:
        if self._limit is None:
            return None
        parts = self._parts or 1
        return QuotaState(limit=self._limit * parts, left=max(0.0, self._now(now_s)) * parts)

    def _now(self, now_s: float) -> float:
        assert self._limit is not None
        if self._at_s is None:
            return self._left
        return min(self._limit, self._left + (now_s - self._at_s) * self._rate)


class Quota:
    """The rate limits of one target: requests and tokens a minute."""

    __slots__ = ("_calm_until_s", "_is_known", "_requests", "_tokens")

    def __init__(self, *, requests_per_min: float | None = None, tokens_per_min: float | None = None):
        self._requests = _Bucket(requests_per_min)
        self._tokens = _Bucket(tokens_per_min)
        self._is_known = requests_per_min is not None or tokens_per_min is not None
        """Whether there is a limit of either that anybody has told."""
        self._calm_until_s = 0.0

    def divide(self, parts: int) -> None:
        """Leave this worker its part of what the operator says that the target allows, as so many ask it."""
        self._requests.divide(parts)
        self._tokens.divide(parts)

    def free_at_s(self, now_s: float, tokens: int) -> float:
        """When a call of so many tokens may go: now, or later."""
        if self._calm_until_s > now_s:
            return self._calm_until_s
        if not self._is_known:
            return now_s
        return now_s + max(self._requests.wait_s(now_s, 1.0), self._tokens.wait_s(now_s, tokens))

    def take(self, now_s: float, tokens: int) -> None:
        """Count a call that is sent."""
        if self._is_known:
            self._requests.take(now_s, 1.0)
            self._tokens.take(now_s, tokens)

    def read(self, now_s: float, requests: RateLimit | None, tokens: RateLimit | None) -> None:
        """Believe what an answer's headers say: it has seen the calls of others too."""
        self._is_known = self._is_known or requests is not None or tokens is not None
        if requests is not None:
            self._requests.read(now_s, requests)
        if tokens is not None:
            self._tokens.read(now_s, tokens)

    def requests(self, now_s: float) -> QuotaState | None:
        """Describe the limit of requests; ``None`` where none is known."""
        return self._requests.state(now_s)

    def tokens(self, now_s: float) -> QuotaState | None:
        """Describe the limit of tokens; ``None`` where none is known."""
        return self._tokens.state(now_s)

    def leave_alone(self, now_s: float, for_s: float) -> None:
        """Send nothing for so long: the target has asked for it."""
        self._calm_until_s = max(self._calm_until_s, now_s + for_s)
