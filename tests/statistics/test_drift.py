"""Tests of drift: nothing is found where nothing changed, a change is found, and by chance alone it rarely is."""

import numpy as np
import pytest

from backstay.statistics.drift import discrepancy, stability_index


def vectors(seed: int, rows: int, shift: float = 0.0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    made[:, 0] += shift
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_the_index_of_equal_shares_is_nothing_and_of_others_large() -> None:
    """By hand: two bins of 0.5 and 0.5 before, 0.8 and 0.2 now."""
    values = [float(number) for number in range(1000)]
    assert stability_index(values, values) == pytest.approx(0, abs=1e-9)
    before, now = [0.0] * 5000 + [1.0] * 5000, [0.0] * 8000 + [1.0] * 2000
    expected = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert stability_index(before, now, bins=2) == pytest.approx(expected, rel=0.01)
    with pytest.raises(ValueError, match="empty"):
        stability_index([], now)


def test_other_vectors_are_told_from_the_same() -> None:
    """A shift is found; of forty pairs of like samples, few are taken for unlike."""
    apart, chance = discrepancy(vectors(1, 120), vectors(2, 60, shift=1.5))
    assert apart > 0 and chance == 0.001
    wrong = sum(discrepancy(vectors(seed, 40), vectors(100 + seed, 30))[1] <= 0.05 for seed in range(20))
    assert wrong <= 4
    with pytest.raises(ValueError, match="two vectors"):
        discrepancy(vectors(1, 1), vectors(2, 5))
