"""Owns the choice of a threshold that keeps an error rate under a bound, with a confidence, from labelled examples.

Learn then Test: A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei, "Learn then Test: calibrating
predictive algorithms to achieve risk control" (arXiv 2110.01052, 2021), with fixed-sequence testing from several starts
(section 3.2 there), and exact binomial p-values.
"""

from collections.abc import Sequence

import msgspec

from backstay.statistics.binomial import binomial_cdf, upper_bound

_STARTS = {0.4: 0.8, 0.2: 0.2}
"""Where sequences of thresholds begin, as shares of the examples, and each one's part of what is left to chance."""

_STEPS = 50
"""Thresholds that are looked at: so many equal parts of the scored examples."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What could be shown: at this threshold or above, the error rate is at most ``bound``, with ``confidence``."""

    threshold: float
    bound: float
    confidence: float
    accepted: int
    """Of the examples, those at the threshold or above."""
    errors: int
    """Of those, the wrong ones."""
    examples: int

    @property
    def upper_bound(self) -> float:
        """The error rate that these counts alone do not exceed, with the same confidence."""
        return upper_bound(self.errors, self.accepted, self.confidence)


def certify(
    scores: Sequence[float], is_error: Sequence[bool], *, bound: float, confidence: float
) -> Certificate | None:
    """Choose the lowest threshold for which the error rate among what is accepted is shown to be within a bound.

    The promise holds for examples that are exchangeable with these, and for scores that were not made from them.

    Args:
        scores: Of each example; it would be accepted at this or a lower threshold.
        is_error: Whether to accept it would be wrong.

    Returns:
        ``None`` where no threshold can be shown to be good: too few examples, or too many errors.
    """
    ranked = sorted(zip(scores, is_error, strict=True), key=lambda example: -example[0])
    places = _places([score for score, _ in ranked])
    errors_by = _running([wrong for _, wrong in ranked])
    best = 0
    for start, part in _STARTS.items():
        for accepted in places:
            if accepted < start * len(ranked):
                continue
            # The chance of so few errors among so many, were the true rate above the bound.
            if binomial_cdf(errors_by[accepted], accepted, bound) > part * (1 - confidence):
                break
            best = max(best, accepted)
    if best == 0:
        return None
    return Certificate(
        threshold=ranked[best - 1][0],
        bound=bound,
        confidence=confidence,
        accepted=best,
        errors=errors_by[best],
        examples=len(ranked),
    )


def _places(scores: Sequence[float]) -> list[int]:
    """Return how many examples each threshold accepts, from strict to loose. They depend on scores alone.

    What has the same score is accepted together.
    """
    places: list[int] = []
    for step in range(1, _STEPS + 1):
        accepted = -(-step * len(scores) // _STEPS)
        while 0 < accepted < len(scores) and scores[accepted] == scores[accepted - 1]:
            accepted += 1
        if accepted and accepted not in places:
            places.append(accepted)
    return places


def _running(flags: Sequence[bool]) -> list[int]:
    totals = [0]
    for flag in flags:
        totals.append(totals[-1] + flag)
    return totals
