"""Owns what a count of errors says of an error rate: exact binomial tails and intervals."""

import math
from collections.abc import Callable


def binomial_cdf(errors: int, trials: int, rate: float) -> float:
    """Return the probability of so many errors or fewer in so many independent trials."""
    if errors >= trials or rate <= 0.0:
        return 1.0
    if rate >= 1.0 or errors < 0:
        return 0.0
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    whole = math.lgamma(trials + 1)
    terms = (
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_rate + (trials - k) * log_rest)
        for k in range(errors + 1)
    )
    return min(1.0, math.fsum(terms))


def upper_bound(errors: int, trials: int, confidence: float) -> float:
    """Return the rate that the true one does not exceed, with this confidence (one-sided Clopper-Pearson).

    Source: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).
    """
    if trials == 0 or errors >= trials:
        return 1.0
    return _solve(lambda rate: binomial_cdf(errors, trials, rate) > 1 - confidence)


def lower_bound(errors: int, trials: int, confidence: float) -> float:
    """Return the rate that the true one does not fall below, with this confidence (one-sided Clopper-Pearson)."""
    return 0.0 if errors <= 0 else 1 - upper_bound(trials - errors, trials, confidence)


def interval(errors: int, trials: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided Clopper-Pearson interval of a rate."""
    side = (1 + confidence) / 2
    return lower_bound(errors, trials, side), upper_bound(errors, trials, side)


def _solve(is_below: Callable[[float], bool]) -> float:
    """Find where a condition that holds for small rates ceases to, to 1e-12."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return high
