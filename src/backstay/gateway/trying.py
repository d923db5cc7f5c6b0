"""Owns one try while it runs: its record, and what it shows of the target's health."""

import asyncio
from collections.abc import Mapping

from backstay.core.errors import (
    BackstayError,
    BudgetExhausted,
    ProviderError,
    ProviderTimeout,
    ProviderUnreachable,
    Untranslatable,
)
from backstay.gateway.recording import Attempt, Recording
from backstay.gateway.room import Room
from backstay.gateway.tries import Hope, Reason
from backstay.gateway.types import Target
from backstay.health import Fleet, Outcome
from backstay.health.target import LastError
from backstay.providers import read_rate_limits

_OUTCOMES: Mapping[str, Outcome] = {
    "rate_limit": "limited",
    "quota": "failed",
    "overloaded": "overloaded",
    "timeout": "unreachable",
    "api_error": "failed",
    "authentication": "failed",
    "permission": "failed",
    "not_found": "failed",
    "invalid_request": "callers",
    "context_length": "callers",
    "content_filter": "callers",
}
"""What an error of a kind says of the target."""

_HOPES: Mapping[str, Hope] = {
    "quota": "elsewhere",
    "authentication": "elsewhere",
    "permission": "elsewhere",
    "not_found": "elsewhere",
    "context_length": "elsewhere",
    "invalid_request": "nowhere",
    "content_filter": "nowhere",
}
"""Where a request may succeed after an error of a kind that is not worth another try at the same target."""


class Trying:
    """One try at one target. ``end`` may be called any number of times; the first one counts."""

    def __init__(self, recording: Recording, fleet: Fleet, room: Room, target: Target, reason: Reason):
        self.attempt: Attempt = recording.begin_attempt(target, reason)
        self._recording = recording
        self._clock = recording.clock
        self._room = room
        self._health = fleet.of(target.name)
        request = recording.request
        stream = request is not None and request.stream
        tokens = len(recording.incoming.body) // 4
        began_s = self.attempt.started_ns * 1e-9
        self._trial = self._health.begin(began_s, stream=stream, tokens=tokens, reason=reason)
        self._has_ended = False

    def headers_came(self, headers: Mapping[str, str]) -> None:
        """Note what an answer's headers say of the target's rate limits."""
        requests, tokens = read_rate_limits(headers)
        if requests is not None or tokens is not None:
            self._health.read_limits(self._now_s(), requests=requests, tokens=tokens)

    def first_piece(self) -> None:
        """Note that a stream has said something."""
        now_ns = self._clock.monotonic_ns()
        self.attempt.first_token_ns = now_ns
        self._health.first_piece(self._trial, now_ns * 1e-9)

    def end(self, error: BaseException | None = None) -> None:
        """Note how it ended; ``None``: well."""
        if self._has_ended:
            return
        self._has_ended = True
        now_s = self._now_s()
        if error is None:
            self.attempt.outcome = "ok"
            self._health.end(self._trial, now_s, "ok")
        else:
            self._fail(error, now_s)
        self._room.wake(self._health.name)

    def _fail(self, error: BaseException, now_s: float) -> None:
        outcome = self.attempt.outcome = outcome_of(error)
        if isinstance(error, BackstayError):
            self._recording.end_attempt(self.attempt, error)
            if error.retry_after_s is not None:
                self._health.read_limits(now_s, retry_after_s=error.retry_after_s)
        elif isinstance(error, asyncio.CancelledError):
            self._recording.cancel_attempt(self.attempt)
        self._health.end(self._trial, now_s, outcome, self._last_error(error))

    def _last_error(self, error: BaseException) -> LastError | None:
        """Say what the target did wrong, in words of ours alone."""
        if not isinstance(error, ProviderError):
            return None
        fault = "unreachable" if isinstance(error, ProviderUnreachable) else error.kind
        return LastError(fault=fault, http_status=self.attempt.http_status)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() * 1e-9


def outcome_of(error: BaseException) -> Outcome:
    """Say what the failure of a try shows of the target."""
    match error:
        case asyncio.CancelledError() | Untranslatable():
            return "callers"
        case ProviderUnreachable() | ProviderTimeout():
            return "unreachable"
        case ProviderError():
            return _OUTCOMES.get(error.kind, "failed")
        case _:
            return "callers"


def hope_after(error: BackstayError) -> Hope:
    """Say where the same request may still succeed."""
    if error.retryable:
        return "anywhere"
    if isinstance(error, Untranslatable) or (isinstance(error, BudgetExhausted) and error.is_elsewhere_cheaper):
        return "elsewhere"
    return _HOPES.get(error.kind, "elsewhere") if isinstance(error, ProviderError) else "nowhere"
