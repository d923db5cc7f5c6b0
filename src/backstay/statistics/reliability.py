"""Owns how far told probabilities are from what was so."""

from collections.abc import Sequence

_BINS = 10

Bin = tuple[float, float, int]
"""What was told at the mean, the share of what was so, and of how many."""


def reliability(told: Sequence[float], was_so: Sequence[bool]) -> list[Bin]:
    """Sort what was told into ten equal steps of probability; steps in which there is nothing are left out."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for each, label in zip(told, was_so, strict=True):
        bins[min(int(each * _BINS), _BINS - 1)].append((each, label))
    return [
        (sum(each for each, _ in held) / len(held), sum(label for _, label in held) / len(held), len(held))
        for held in bins
        if held
    ]


def calibration_error(told: Sequence[float], was_so: Sequence[bool]) -> float:
    """Return the expected calibration error: the mean distance of what was told from what was so, by such steps.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning"
    (AAAI 2015).
    """
    return sum(abs(each - share) * size for each, share, size in reliability(told, was_so)) / max(len(told), 1)
