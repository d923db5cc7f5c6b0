"""Owns the threshold below which nothing is answered, so that wrong answers keep below a wanted rate.

Conformal risk control: A. N. Angelopoulos, S. Bates, A. Fisch, L. Lei, T. Schuster, "Conformal risk control" (arXiv
2208.02814, 2022), theorem 1, for a loss that is 1 where a wrong answer is given, and 0 else: it never grows with the
threshold, as the theorem asks.
"""

import math
from collections.abc import Sequence

import msgspec

from backstay.statistics.binomial import upper_bound


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold, and what came of it on the examples that it was chosen on."""

    threshold: float
    """Answered is at this score or above; infinite: nothing, minus infinite: everything."""
    rate: float
    """Of all questions, the share of wrong answers that is not exceeded at the mean."""
    examples: int
    answered: int
    wrong: int
    """Of those that are answered."""

    def upper_bound(self, confidence: float) -> float:
        """Return the rate of wrong answers that these counts alone do not exceed, with a confidence."""
        return upper_bound(self.wrong, self.examples, confidence)


def control_risk(scores: Sequence[float], is_wrong: Sequence[bool], *, rate: float) -> Control:
    """Choose the lowest threshold at which wrong answers are at most a share of all questions.

    The promise: for one more question that is exchangeable with these, the chance that it gets a wrong answer is at
    most ``rate``, at the mean over the draw of all of them. Where examples are too few for it, nothing is answered.

    Args:
        scores: How well the evidence holds an answer, of each question.
        is_wrong: Whether an answer to it would be wrong.
    """
    ranked = sorted(zip(scores, is_wrong, strict=True), key=lambda example: -example[0])
    best, wrong, errors = 0, 0, 0
    for number, (score, is_error) in enumerate(ranked, 1):
        errors += is_error
        if errors + 1 > rate * (len(ranked) + 1):
            break
        # What has the same score is answered together.
        if number == len(ranked) or ranked[number][0] < score:
            best, wrong = number, errors
    threshold = math.inf if best == 0 else -math.inf if best == len(ranked) else ranked[best - 1][0]
    return Control(threshold=threshold, rate=rate, examples=len(ranked), answered=best, wrong=wrong)
