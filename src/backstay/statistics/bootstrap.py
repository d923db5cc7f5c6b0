"""Owns intervals of a mean by resampling what it is the mean of."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 2000
_AT_ONCE = 1_000_000
"""Drawn values that are in memory together."""


def mean_interval(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the percentile interval of a mean, the same for the same values.

    The values are taken to be independent draws of one kind, as queries of a labelled set are. Source: B. Efron and
    R. Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("A mean of nothing has no interval.")
    sample, chance = np.asarray(values, dtype=np.float64), np.random.default_rng(seed)
    rows = max(1, min(_RESAMPLES, _AT_ONCE // len(sample)))
    means = [
        sample[chance.integers(len(sample), size=(min(rows, _RESAMPLES - start), len(sample)))].mean(axis=1)
        for start in range(0, _RESAMPLES, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
