"""Tests of curves of probability: they are found again in examples, and few examples do not outweigh what is known."""

import random

import pytest

from backstay.statistics.logistic import Curve, fit_curve
from backstay.statistics.reliability import calibration_error, reliability


def test_a_curve_is_found_again_in_its_examples() -> None:
    """Of 4,000 examples drawn by a curve, the fitted one tells nearly the same."""
    chance, true = random.Random(1), Curve(start=-3.0, slope=0.8)
    scores = [chance.uniform(0, 10) for _ in range(4000)]
    found = fit_curve(scores, [float(chance.random() < true.at(score)) for score in scores])
    assert found.start == pytest.approx(true.start, abs=0.3)
    assert found.slope == pytest.approx(true.slope, abs=0.08)


def test_few_examples_are_drawn_to_what_is_known() -> None:
    """None at all change nothing; two that part perfectly do not become certainties."""
    known = Curve(start=-2.0, slope=0.5)
    assert fit_curve([], [], known=known, weight=1.0) == known
    found = fit_curve([1.0, 9.0], [0.0, 1.0], known=known, weight=3.0)
    assert 0 < found.at(0.0) < found.at(5.0) < found.at(20.0) < 1


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0], [700.0, 900.0, 1e4]])
def test_odd_scores_end_in_a_probability(scores: list[float]) -> None:
    """Scores that are all the same, or far away, end the fit as well."""
    assert 0 <= fit_curve(scores, [1.0, 0.0, 1.0], known=Curve(start=0.0, slope=0.1), weight=1.0).at(scores[0]) <= 1


def test_the_calibration_error_is_the_mean_distance() -> None:
    """Half of what is told as 0.9 is not so: 0.4 off; what is told as 0.2 is so in a fifth."""
    told, was_so = [0.9] * 10 + [0.2] * 10, [True] * 5 + [False] * 5 + [True] * 2 + [False] * 8
    assert calibration_error(told, was_so) == pytest.approx(0.2)
    assert reliability(told, was_so) == [(pytest.approx(0.2), 0.2, 10), (pytest.approx(0.9), 0.5, 10)]
    assert reliability([1.0, 0.0], [True, False]) == [(0.0, 0.0, 1), (1.0, 1.0, 1)]
    assert calibration_error([], []) == 0.0
