"""Owns the figures by which scores are judged: precision, recall, F1, and how far probabilities are off."""

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BINS = 10


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a threshold comes to."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


def judge(labels: Flags, scores: Floats, threshold: float) -> Judged:
    """Count what is at a threshold or above."""
    taken = scores >= threshold
    right = int((taken & labels).sum())
    return Judged(precision=right / max(int(taken.sum()), 1), recall=right / max(int(labels.sum()), 1))


def best_threshold(labels: Flags, scores: Floats) -> float:
    """Return the threshold of the highest F1, of a hundred that divide the scores evenly."""
    tried = np.unique(np.quantile(scores, np.linspace(0, 1, 101)))
    return float(max(tried, key=lambda threshold: judge(labels, scores, threshold).f1))


def calibration(labels: Flags, scores: Floats) -> list[tuple[float, float, int]]:
    """Return, for ten equal steps of probability, what was told at the mean, what was so, and of how many."""
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    return [
        (float(scores[place == n].mean()), float(labels[place == n].mean()), int((place == n).sum()))
        for n in range(_BINS)
        if (place == n).any()
    ]


def calibration_error(labels: Flags, scores: Floats) -> float:
    """Return the expected calibration error: the mean distance of what was told from what was so.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning"
    (AAAI 2015).
    """
    return sum(abs(told - so) * size for told, so, size in calibration(labels, scores)) / max(len(labels), 1)
