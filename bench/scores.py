"""Owns the figures by which scores are judged at a threshold: precision, recall, F1."""

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


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
