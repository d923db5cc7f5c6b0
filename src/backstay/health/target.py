"""Owns what one worker knows of one target: whether a call may go there now, and what each try has shown. Pure."""

from typing import Literal

import msgspec

from backstay.core.rate_limit import RateLimit
from backstay.health.breaker import Breaker, BreakerState, Cause, Verdict
from backstay.health.concurrency import ConcurrencyLimit
from backstay.health.latency import Latencies
from backstay.health.quota import Quota, QuotaState
from backstay.health.recent import Recent
from backstay.health.retry_budget import RetryBudget

Readiness = Literal["ready", "slow", "busy", "limited", "open", "drained"]
"""``slow``: it answers, much slower than it used to: to be asked where nothing better is there. ``busy``: it has as
many open calls as it can take. ``limited``: its rate limit is used up. ``open``: its breaker is. ``drained``: an
operator took it out of use."""

Outcome = Literal["ok", "failed", "unreachable", "overloaded", "limited", "callers"]
"""``callers``: the request's own fault or a caller who went away, which says nothing about the target. ``limited``: a
rate limit. ``overloaded``: it refuses because it has too much to do."""

SLOW_FACTOR = 4.0
"""So many times its own usual (median) time is slow."""
_LEAST_SLOW_S = 0.1
"""Nothing below this is slow, whatever is usual."""
_LEARNED = 20
"""Observations from which on the usual time is known."""
_CALM_S = 1.0
"""How long a target is left alone that says it is over its rate limit and not for how long."""

_VERDICTS: dict[Outcome, Verdict] = {
    "ok": "ok",
    "failed": "failed",
    "unreachable": "unreachable",
    "overloaded": "failed",
}


class Availability(msgspec.Struct, frozen=True):
    """Whether a call may be sent."""

    readiness: Readiness
    free_at_s: float | None = None
    """When that may change; ``None``: not known, as for ``busy`` and ``drained``."""


READY = Availability("ready")


class Trial:
    """One try at a target, while it runs."""

    __slots__ = ("is_hanging", "is_late", "is_probe", "is_stream", "is_waiting", "level", "started_s")

    def __init__(self, started_s: float, *, is_stream: bool, is_probe: bool, level: int = 1):
        self.started_s = started_s
        self.level = level
        """How many were open with it when it began."""
        self.is_stream = is_stream
        self.is_probe = is_probe
        self.is_waiting = True
        """Whether nothing of the answer is there yet."""
        self.is_late = False
        """Whether it was counted as slow already."""
        self.is_hanging = False
        """Whether it was so while nothing of the answer was there."""


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with a target last. It has no message: that may hold what one tenant's call said."""

    fault: str
    """The kind of error, such as ``overloaded`` or ``timeout``."""
    http_status: int | None = None
    """What the target answered with; ``None``: it did not answer."""


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker knows of a target, for people. Ages are in seconds before it was told."""

    target: str
    breaker: BreakerState
    cause: Cause | None
    readiness: Readiness
    in_flight: int
    concurrency_limit: int | None
    retries_left: float
    tries: int
    """Since the worker began."""
    failures: int
    opened: int
    ill_for_s: float | None = None
    """How long the breaker has not been closed."""
    free_in_s: float | None = None
    """When it may be asked again, where that is known; 0: now."""
    recent_tries: int = 0
    """Of the last five minutes."""
    recent_failures: int = 0
    first_token: dict[int, float] = {}
    """Times to the first token of streams, by bucket."""
    whole: dict[int, float] = {}
    """Times of answers that were not streamed, by bucket."""
    requests: QuotaState | None = None
    tokens: QuotaState | None = None
    last_error: LastError | None = None
    last_error_ago_s: float | None = None


class TargetHealth:
    """One target. Times are monotonic seconds, given by the caller."""

    def __init__(self, name: str, *, quota: Quota | None = None, breaker: Breaker | None = None):
        self.name = name
        self.breaker = breaker or Breaker()
        self.quota = quota or Quota()
        self.retries = RetryBudget()
        self.concurrency = ConcurrencyLimit()
        self.first_token = Latencies()
        self.whole = Latencies()
        self.in_flight = 0
        self.used_s = 0.0
        """When a try was begun last."""
        self._hanging = 0
        """Open tries that nobody expects to go well any more."""
        self.drained = False
        self.tries = 0
        self.failures = 0
        self.made: dict[str, int] = {}
        """Tries by why they were made."""
        self.ended: dict[Outcome, int] = {}
        """Tries by how they ended."""
        self.recent = Recent()
        self.last_error: LastError | None = None
        self._last_error_s = 0.0
        self._waiting: dict[bool, dict[Trial, None]] = {True: {}, False: {}}
        """Tries without an answer that are not late yet, in the order of their beginning, by whether they stream."""
        self._slow_after_s: dict[bool, float | None] = {True: None, False: None}

    def availability(self, now_s: float, tokens: int = 0) -> Availability:
        """Whether a call of about so many tokens may be sent now."""
        if self.drained:
            return Availability("drained")
        for waiting in self._waiting.values():
            if waiting:
                self._find_late(now_s, waiting)
        if not self.breaker.allows(now_s):
            is_slow = self.breaker.cause == "slow"
            return Availability("slow" if is_slow else "open", self.breaker.free_at_s())
        free_at_s = self.quota.free_at_s(now_s, tokens)
        if free_at_s > now_s:
            return Availability("limited", free_at_s)
        return READY if self.concurrency.has_room(self.in_flight) else Availability("busy")

    def begin(self, now_s: float, *, stream: bool, tokens: int = 0, reason: str = "first") -> Trial:
        """Note that a call is sent, and why."""
        may_probe = self.breaker.state != "closed" and self.breaker.allows(now_s)
        self.in_flight += 1
        self.used_s = now_s
        is_probe = may_probe and self.breaker.begin(now_s)
        trial = Trial(now_s, is_stream=stream, is_probe=is_probe, level=self.in_flight)
        self.tries += 1
        self.made[reason] = self.made.get(reason, 0) + 1
        self.quota.take(now_s, tokens)
        self._waiting[stream][trial] = None
        return trial

    def first_piece(self, trial: Trial, now_s: float) -> None:
        """Note that the answer has begun."""
        self._waiting[trial.is_stream].pop(trial, None)
        trial.is_waiting = False
        if trial.is_hanging:
            self._let_go(trial)
        self._learn(trial, now_s)
        if trial.is_probe:  # whether it is well again need not wait for the end of a long answer
            trial.is_probe = False
            self.breaker.end(now_s, "ok", probe=True)

    def end(self, trial: Trial, now_s: float, outcome: Outcome, error: LastError | None = None) -> None:
        """Note how a try ended, and with which error of the target's own."""
        self.in_flight -= 1
        if trial.is_hanging:
            self._let_go(trial)
        self._waiting[trial.is_stream].pop(trial, None)
        self._count(now_s, outcome, error)
        if outcome == "unreachable" and not trial.is_waiting:
            outcome = "failed"  # it did answer, and broke off
        if outcome == "ok":
            if trial.is_waiting:
                self._learn(trial, now_s)
            self.retries.earn()
            self.concurrency.on_success(now_s, trial.level)
        elif outcome in ("overloaded", "unreachable") and not trial.is_probe:
            self.concurrency.on_overload(now_s, trial.level)
        elif outcome == "limited":
            self.quota.leave_alone(now_s, _CALM_S)
        self._tell_breaker(trial, now_s, outcome)

    def read_limits(
        self,
        now_s: float,
        *,
        requests: RateLimit | None = None,
        tokens: RateLimit | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Note what an answer says of the target's rate limits."""
        self.quota.read(now_s, requests, tokens)
        if retry_after_s is not None:
            self.quota.leave_alone(now_s, retry_after_s)

    def slow_after_s(self, *, stream: bool) -> float | None:
        """From when on a try without an answer counts as slow; ``None`` while the usual time is not known."""
        return self._slow_after_s[stream]

    def state(self, now_s: float) -> TargetState:
        """Describe it."""
        availability, ill_since_s = self.availability(now_s), self.breaker.ill_since_s
        recent_tries, recent_failures = self.recent.counts(now_s)
        return TargetState(
            target=self.name,
            breaker=self.breaker.state,
            cause=self.breaker.cause,
            readiness=availability.readiness,
            in_flight=self.in_flight,
            concurrency_limit=self.concurrency.limit,
            retries_left=self.retries.left,
            tries=self.tries,
            failures=self.failures,
            opened=self.breaker.opened,
            ill_for_s=None if ill_since_s is None else now_s - ill_since_s,
            free_in_s=None if availability.free_at_s is None else max(0.0, availability.free_at_s - now_s),
            recent_tries=recent_tries,
            recent_failures=recent_failures,
            first_token=self.first_token.counts(),
            whole=self.whole.counts(),
            requests=self.quota.requests(now_s),
            tokens=self.quota.tokens(now_s),
            last_error=self.last_error,
            last_error_ago_s=None if self.last_error is None else now_s - self._last_error_s,
        )

    def _count(self, now_s: float, outcome: Outcome, error: LastError | None) -> None:
        self.ended[outcome] = self.ended.get(outcome, 0) + 1
        if outcome != "callers":
            self.recent.add(now_s, failed=outcome != "ok")
        if error is not None and outcome not in ("ok", "callers"):
            self.last_error, self._last_error_s = error, now_s

    def _learn(self, trial: Trial, now_s: float) -> None:
        """Keep a time as usual, unless the target is known to be ill: or slowness would soon be usual."""
        took_s, limit_s = now_s - trial.started_s, self._slow_after_s[trial.is_stream]
        if limit_s is not None and took_s > limit_s:
            self._note_late(trial, now_s)
            if self.breaker.state != "closed":
                return
        latencies = self.first_token if trial.is_stream else self.whole
        latencies.add(took_s)
        if latencies.seen >= _LEARNED and latencies.seen % _LEARNED == 0:
            usual_s = latencies.quantile(0.5) or 0.0
            self._slow_after_s[trial.is_stream] = max(_LEAST_SLOW_S, SLOW_FACTOR * usual_s)

    def _find_late(self, now_s: float, waiting: dict[Trial, None]) -> None:
        """Count tries as slow while they still wait: a target that hangs is known before its time-outs."""
        while waiting:
            trial = next(iter(waiting))
            limit_s = self._slow_after_s[trial.is_stream]
            if limit_s is None or now_s - trial.started_s <= limit_s:
                return  # the others began later
            del waiting[trial]
            trial.is_hanging = True
            self._hanging += 1
            self._note_late(trial, now_s)

    def _let_go(self, trial: Trial) -> None:
        trial.is_hanging = False
        self._hanging -= 1

    def _note_late(self, trial: Trial, now_s: float) -> None:
        if not trial.is_late:
            trial.is_late = True
            self.breaker.end(now_s, "slow", probe=trial.is_probe)
            trial.is_probe = False

    def _tell_breaker(self, trial: Trial, now_s: float, outcome: Outcome) -> None:
        verdict = _VERDICTS.get(outcome)
        if verdict is None:
            self.breaker.forget(probe=trial.is_probe)
            return
        self.failures += verdict != "ok"
        if not (trial.is_late and verdict == "ok"):
            self.breaker.end(now_s, verdict, probe=trial.is_probe, pending=self.in_flight - self._hanging)
