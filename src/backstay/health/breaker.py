"""Owns the decision whether a target is asked at all: a circuit breaker over a sliding window of outcomes. Pure.

It opens when it is statistically sure that most tries fail, not at a fixed count: a target that fails three times in
ten stays in use (the retries ride that out), one that is down is left alone after a dozen failures.
"""

import math
import random
from collections import deque
from typing import Literal

import msgspec

BreakerState = Literal["closed", "open", "half_open"]
"""``closed``: in use. ``open``: left alone. ``half_open``: one call at a time finds out whether it is well again."""

Cause = Literal["errors", "slow", "peer"]
"""Why it opened. ``peer``: another worker's did, and this one checks for itself."""

Verdict = Literal["ok", "failed", "unreachable", "slow"]
"""What one try showed. ``unreachable``: no answer at all, which takes fewer proofs than an answer that is an error."""


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens and for how long."""

    window: int = 64
    """Outcomes looked at."""
    window_s: float = 30.0
    """Older outcomes don't count."""
    threshold: float = 0.5
    """It opens when the share of bad outcomes is surely above this."""
    confidence_z: float = 3.3
    """How sure, in standard deviations of the normal distribution: 3.3 is one-sided 99.95 %."""
    unreachable_in_row: int = 5
    """So many tries in a row without any answer open it too, however long they took: traffic may be thin."""
    open_s: float = 1.0
    """The first pause; each failed probe doubles it."""
    longest_open_s: float = 30.0
    probes: int = 3
    """Good probes in a row that close it."""


class Breaker:
    """The breaker of one target. Times are monotonic seconds, given by the caller."""

    def __init__(self, policy: BreakerPolicy | None = None, *, chance: random.Random | None = None):
        self.state: BreakerState = "closed"
        self.cause: Cause | None = None
        self.opened = 0
        """How often it has opened."""
        self.changed_at_s: float | None = None
        self.ill_since_s: float | None = None
        """When it opened first since it was last closed; ``None`` while it is closed."""
        self._policy = policy or BreakerPolicy()
        self._chance = chance or random.Random()
        self._outcomes: deque[tuple[float, Verdict]] = deque()
        self._counts: dict[Verdict, int] = {"ok": 0, "failed": 0, "unreachable": 0, "slow": 0}
        self._in_row = 0
        self._pause_s = self._policy.open_s
        self._until_s = 0.0
        self._probing = False
        self._good_probes = 0

    def allows(self, now_s: float) -> bool:
        """Whether a call may be sent now, as a probe where it is not closed."""
        if self.state == "closed":
            return True
        return now_s >= self._until_s and not self._probing

    def free_at_s(self) -> float:
        """When the next probe may go, at the earliest."""
        return self._until_s

    def begin(self, now_s: float) -> bool:
        """Note that a call is sent; return whether it is a probe. It must be allowed."""
        if self.state == "closed":
            return False
        if self.state == "open":
            self._turn("half_open", now_s)
        self._probing = True
        return True

    def end(self, now_s: float, verdict: Verdict, *, probe: bool, pending: int = 0) -> None:
        """Note what a try showed. What was begun before it opened says nothing about now.

        Args:
            pending: Tries that are open and may still go well. Errors come at once and answers take their time: of
                many calls begun together the bad ones are known first.
        """
        if probe:
            self._probing = False
            self._judge_probe(now_s, verdict)
        elif self.state == "closed":
            self._count(now_s, verdict)
            if verdict != "ok" and (cause := self._verdict_on_all(pending)) is not None:
                self.open(now_s, cause)

    def forget(self, *, probe: bool) -> None:
        """Note that a try ended without showing anything, such as one whose caller went away."""
        if probe:
            self._probing = False

    def open(self, now_s: float, cause: Cause) -> None:
        """Leave the target alone for a while. After a peer's word, the next call may check at once."""
        self.cause = cause
        self.opened += 1
        if self.ill_since_s is None:
            self.ill_since_s = now_s
        self._until_s = now_s if cause == "peer" else now_s + self._pause_s * self._chance.uniform(0.8, 1.2)
        self._good_probes = 0
        self._clear()
        self._turn("open", now_s)

    def close(self, now_s: float) -> None:
        """Put the target in use again."""
        self.cause = self.ill_since_s = None
        self._pause_s = self._policy.open_s
        self._clear()
        self._turn("closed", now_s)

    def _turn(self, state: BreakerState, now_s: float) -> None:
        self.state, self.changed_at_s = state, now_s

    def _judge_probe(self, now_s: float, verdict: Verdict) -> None:
        if self.state == "closed":
            return
        if verdict == "ok":
            self._good_probes += 1
            if self._good_probes >= self._policy.probes:
                self.close(now_s)
            return
        if self.cause != "peer":
            self._pause_s = min(2 * self._pause_s, self._policy.longest_open_s)
        self.open(now_s, "slow" if verdict == "slow" else "errors")

    def _count(self, now_s: float, verdict: Verdict) -> None:
        self._in_row = self._in_row + 1 if verdict == "unreachable" else 0
        self._outcomes.append((now_s, verdict))
        self._counts[verdict] += 1
        oldest_s = now_s - self._policy.window_s
        while len(self._outcomes) > self._policy.window or self._outcomes[0][0] < oldest_s:
            self._counts[self._outcomes.popleft()[1]] -= 1

    def _verdict_on_all(self, pending: int) -> Cause | None:
        policy, counts, total = self._policy, self._counts, len(self._outcomes)
        failed = counts["failed"] + counts["unreachable"]
        if self._in_row >= policy.unreachable_in_row:
            return "errors"
        if lower_bound(failed, total + pending, policy.confidence_z) > policy.threshold:
            return "errors"
        # Of the answers alone: a target that fails four times in ten is not slow because some others are late.
        if lower_bound(counts["slow"], total - failed, policy.confidence_z) > policy.threshold:
            return "slow"
        return None

    def _clear(self) -> None:
        self._outcomes.clear()
        self._counts = dict.fromkeys(self._counts, 0)
        self._in_row = 0


def lower_bound(hits: int, total: int, z: float) -> float:
    """Return the lower end of Wilson's score interval of a share; 0 where nothing is known.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if total == 0:
        return 0.0
    share, square = hits / total, z * z
    middle = share + square / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return (middle - spread) / (1 + square / total)
