"""Intervals of means by the bootstrap."""

import numpy as np
import pytest

from backstay.statistics.bootstrap import mean_interval


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    """Of 400 samples of 50 draws, about 95 % of the intervals hold the mean that the draws came from."""
    chance = np.random.default_rng(1)
    held = 0
    for sample in chance.binomial(1, 0.7, size=(400, 50)):
        low, high = mean_interval(sample.tolist())
        held += low <= 0.7 <= high
    assert 0.91 <= held / 400 <= 0.98


def test_an_interval_is_the_same_for_the_same_values() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval([0.25] * 10) == (0.25, 0.25)


def test_more_confidence_is_a_wider_interval() -> None:
    values = [float(number % 7) for number in range(60)]
    (low, high), (lower, higher) = mean_interval(values, confidence=0.5), mean_interval(values, confidence=0.99)
    assert lower < low < high < higher


def test_many_values_are_drawn_in_parts() -> None:
    low, high = mean_interval([float(number % 2) for number in range(30_000)])
    assert low == pytest.approx(0.494, abs=0.003) and high == pytest.approx(0.506, abs=0.003)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        mean_interval([])
