"""Owns the question whether two samples are of one kind: the population stability index, and the mean discrepancy."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_BINS = 10
_PERMUTATIONS = 999


def stability_index(before: Sequence[float], now: Sequence[float], *, bins: int = _BINS) -> float:
    """Return the population stability index of numbers, over bins that had equal shares before.

    0: the shares are the same. From 0.1 on there is some change, from 0.25 on a large one, as is the custom; of small
    samples it is larger by chance, by about (bins - 1)(1/n + 1/m). Each bin is taken to have half a number more, so
    that an empty one is no infinite change. Source: N. Siddiqi, "Credit Risk Scorecards" (2006), chapter 9.

    Raises:
        ValueError: One of the samples is empty.
    """
    if not before or not now:
        raise ValueError("An empty sample has no shares.")
    edges = np.unique(np.quantile(np.asarray(before), np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [_shares(np.asarray(each), edges) for each in (before, now)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def discrepancy(before: npt.NDArray[np.float32], now: npt.NDArray[np.float32], *, seed: int = 0) -> tuple[float, float]:
    """Return how far apart two samples of vectors are, and how likely they are so far apart by chance.

    The squared maximum mean discrepancy with a Gaussian kernel as wide as the median distance, unbiased, and the share
    of 1,000 divisions of all vectors, the given one and 999 random ones, that are as far apart. Source: A. Gretton et
    al., "A Kernel Two-Sample Test", JMLR 13 (2012).

    Args:
        before: One vector a row; ``now`` alike. Both need two rows at least.
    """
    rows, size = np.vstack([before, now]).astype(np.float64), len(before)
    if size < 2 or len(now) < 2:
        raise ValueError("Each sample needs two vectors.")
    squares = np.sum(rows * rows, axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    width = float(np.median(distances[np.triu_indices(len(rows), 1)])) or 1.0
    kernel = np.exp(-distances / width)
    np.fill_diagonal(kernel, 0)
    chance = np.random.default_rng(seed)
    is_first = np.arange(len(rows)) < size
    divisions = np.stack([is_first, *(chance.permutation(is_first) for _ in range(_PERMUTATIONS))], axis=1)
    found = _discrepancies(kernel, divisions.astype(np.float64))
    return float(found[0]), float(np.count_nonzero(found >= found[0])) / len(found)


def _discrepancies(kernel: Matrix, divisions: Matrix) -> npt.NDArray[np.float64]:
    """Return the squared discrepancy for each division: a column, 1 for each row of the first sample, else 0."""
    n = float(divisions[:, 0].sum())
    m = len(divisions) - n
    first = np.sum(divisions * (kernel @ divisions), axis=0)
    across = kernel.sum(axis=1) @ divisions - first
    second = kernel.sum() - 2 * across - first
    return first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * across / (n * m)


def _shares(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
    return counts / counts.sum()
