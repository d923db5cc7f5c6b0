"""What samples say of error rates."""

import numpy as np
import pytest

from backstay.statistics import binomial_cdf, certify, interval, upper_bound


@pytest.mark.parametrize(
    ("errors", "trials", "confidence", "low", "high"),
    [(0, 10, 0.95, 0.0, 0.30850), (5, 100, 0.95, 0.01643, 0.11283), (50, 100, 0.95, 0.39832, 0.60168)],
)
def test_intervals_are_those_of_the_tables(
    errors: int, trials: int, confidence: float, low: float, high: float
) -> None:
    """Clopper-Pearson, as R's binom.test prints it."""
    assert interval(errors, trials, confidence) == pytest.approx((low, high), abs=1e-5)


def test_a_bound_is_where_the_tail_is_what_is_left() -> None:
    """At the upper bound, so few errors have exactly the probability that is left to chance."""
    bound = upper_bound(17, 1452, 0.95)
    assert binomial_cdf(17, 1452, bound) == pytest.approx(0.05, abs=1e-6)
    assert (upper_bound(0, 0, 0.95), upper_bound(3, 3, 0.95)) == (1.0, 1.0)


def _draw(random: np.random.Generator, size: int) -> tuple[list[float], list[bool]]:
    """Scores between 0 and 1 that are wrong with probability (1 - score)² / 2: the rate above t is (1 - t)² / 6."""
    scores = random.random(size)
    return scores.tolist(), (random.random(size) < (1 - scores) ** 2 / 2).tolist()


def test_the_bound_holds_as_often_as_it_says() -> None:
    """Over 300 calibrations, the true rate at the chosen threshold exceeds the bound in at most 5 %."""
    random = np.random.default_rng(7)
    found = [certify(*_draw(random, 2000), bound=0.05, confidence=0.95) for _ in range(300)]
    rates = [(1 - each.threshold) ** 2 / 6 for each in found if each is not None]
    assert len(rates) > 290, "most calibrations succeed"
    assert sum(rate > 0.05 for rate in rates) <= 0.05 * 300 + 2 * np.sqrt(300 * 0.05 * 0.95)
    assert np.mean(rates) > 0.03, "and they are not timid"


def test_too_little_shows_nothing() -> None:
    """A few good examples are no proof, nor are many bad ones."""
    assert certify([1.0] * 50, [False] * 50, bound=0.02, confidence=0.95) is None
    assert certify(np.linspace(0, 1, 1000).tolist(), [True] * 1000, bound=0.02, confidence=0.95) is None
    assert certify([], [], bound=0.02, confidence=0.95) is None


def test_equal_scores_stand_and_fall_together() -> None:
    """A threshold accepts all that has its score, so all of it is counted."""
    certificate = certify([0.9] * 400 + [0.1] * 100, [False] * 400 + [True] * 100, bound=0.02, confidence=0.95)
    assert certificate is not None and (certificate.accepted, certificate.errors) == (400, 0)
