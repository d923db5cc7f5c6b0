"""Owns how likely something is by one score: a logistic curve, fitted to examples and drawn to a known curve by few."""

import math
from collections.abc import Sequence

import msgspec

_STEPS = 100
_SMALLEST = 1e-9


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Log odds that are a straight line of the score."""

    start: float
    slope: float

    def at(self, score: float) -> float:
        """Return the probability at a score."""
        return _sigmoid(self.start + self.slope * score)


FLAT = Curve(start=0.0, slope=0.0)


def fit_curve(scores: Sequence[float], labels: Sequence[float], *, known: Curve = FLAT, weight: float = 1e-6) -> Curve:
    """Fit a curve to examples by Newton's method, drawn to a known one.

    Args:
        labels: 1 where it was so, 0 where not.
        known: What is taken to be so without examples.
        weight: How firmly: of the penalty of half the square of the distance in each of the two numbers.
    """
    start, slope = known.start, known.slope
    for _ in range(_STEPS):
        told = [_sigmoid(start + slope * score) for score in scores]
        spread = [each * (1 - each) for each in told]
        down = math.fsum(t - y for t, y in zip(told, labels, strict=True)) + weight * (start - known.start)
        along = math.fsum((t - y) * s for t, y, s in zip(told, labels, scores, strict=True))
        along += weight * (slope - known.slope)
        a, b = math.fsum(spread) + weight, math.fsum(p * s for p, s in zip(spread, scores, strict=True))
        c = math.fsum(p * s * s for p, s in zip(spread, scores, strict=True)) + weight
        whole = a * c - b * b
        if whole <= 0:
            break
        by_start, by_slope = (c * down - b * along) / whole, (a * along - b * down) / whole
        # A step may be too long where the curve is steep: none moves the log odds by more than a few.
        most = max(abs(by_start), abs(by_slope) * max((abs(score) for score in scores), default=1.0), 3.0) / 3.0
        start, slope = start - by_start / most, slope - by_slope / most
        if max(abs(by_start), abs(by_slope)) < _SMALLEST:
            break
    return Curve(start=start, slope=slope)


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
