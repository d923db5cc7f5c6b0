"""Owns the small classifier that tells how likely a sentence is supported by a place; it is learnt in ``bench``.

One hidden layer, read from ``support.json`` beside this module. ``python -m bench verification --train`` writes it.
"""

from functools import cache
from importlib.resources import files

import msgspec
import numpy as np

from backstay.retrieval.alignment import FEATURES, Floats


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was learnt."""

    features: tuple[str, ...]
    mean: list[float]
    scale: list[float]
    hidden: list[list[float]]
    """One row a feature, one column a hidden unit."""
    hidden_bias: list[float]
    out: list[float]
    out_bias: float
    threshold: float
    """From this probability on a sentence counts as supported."""


class Classifier:
    """The classifier, its weights at hand."""

    def __init__(self, weights: Weights):
        if weights.features != FEATURES:
            raise ValueError(
                "the weights are of other features: `python -m bench verification --train` learns them anew"
            )
        self.threshold = weights.threshold
        self._mean, self._scale = np.array(weights.mean), np.array(weights.scale)
        self._hidden, self._hidden_bias = np.array(weights.hidden), np.array(weights.hidden_bias)
        self._out, self._out_bias = np.array(weights.out), weights.out_bias

    def probabilities(self, features: Floats) -> Floats:
        """Return how likely each is that a place supports a sentence; one row of features a place."""
        hidden = np.tanh((features - self._mean) / self._scale @ self._hidden + self._hidden_bias)
        return 1 / (1 + np.exp(-(hidden @ self._out + self._out_bias)))


@cache
def learnt() -> Classifier:
    """Read the classifier that comes with the package."""
    return Classifier(msgspec.json.decode((files("backstay.retrieval") / "support.json").read_bytes(), type=Weights))
