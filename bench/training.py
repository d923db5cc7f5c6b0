"""Owns how the support classifier is learnt: one hidden layer, by Adam, each claim by the place that fits it best."""

from collections.abc import Sequence

import msgspec
import numpy as np

from backstay.retrieval.alignment import FEATURES, Floats
from backstay.retrieval.classifier import Classifier, Weights
from backstay.statistics.logistic import fit_curve
from bench.scores import best_threshold

_HIDDEN, _EPOCHS, _BATCH, _STEP, _DECAY = 16, 200, 128, 2e-3, 2e-3
_ROUNDS = 3
"""The place by which a claim is learnt is first the one with most of its terms, then the one that scores best."""
_SUPPORTED_WEIGHT = 2.0
"""Planted claims are twice as many."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as it is learnt from or measured on."""

    places: Floats
    """One row of features a place whose facts agree; none: it cannot be supported."""
    supported: bool
    where: tuple[int, ...] = ()
    """Which sentence of the passages each of them is."""


def learn(train: Sequence[Example], choose: Sequence[Example], seed: int = 0) -> Weights:
    """Learn the classifier from one part; calibrate its probabilities and choose its threshold on another."""
    labels = np.array([each.supported for each in train if len(each.places)], dtype=float)
    rows = [each.places for each in train if len(each.places)]
    firsts = np.array([places[0] for places in rows])
    weights = _descend(firsts, labels, seed)
    for _ in range(_ROUNDS - 1):
        classifier = Classifier(weights)
        best = np.array([places[np.argmax(classifier.probabilities(places))] for places in rows])
        weights = _descend(best, labels, seed)
    return _calibrated(weights, choose)


def score(classifier: Classifier, examples: Sequence[Example]) -> Floats:
    """Return how likely each claim is supported by any of its places."""
    return np.array([float(classifier.probabilities(e.places).max()) if len(e.places) else 0.0 for e in examples])


def _descend(rows: Floats, labels: Floats, seed: int) -> Weights:
    chance = np.random.default_rng(seed)
    mean, scale = rows.mean(0), rows.std(0) + 1e-6
    inputs, share = (rows - mean) / scale, np.where(labels > 0, _SUPPORTED_WEIGHT, 1.0)
    size = rows.shape[1]
    params = [
        chance.normal(0, 1 / np.sqrt(size), (size, _HIDDEN)), np.zeros(_HIDDEN),
        chance.normal(0, 0.1, _HIDDEN), np.zeros(1),
    ]  # fmt: skip
    first, second = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    step = 0
    for _ in range(_EPOCHS):
        order = chance.permutation(len(inputs))
        for start in range(0, len(order), _BATCH):
            rows_now, step = order[start : start + _BATCH], step + 1
            for n, slope in enumerate(_slopes(params, inputs[rows_now], labels[rows_now], share[rows_now])):
                first[n] = 0.9 * first[n] + 0.1 * slope
                second[n] = 0.999 * second[n] + 0.001 * slope * slope
                root = np.sqrt(second[n] / (1 - 0.999**step)) + 1e-8
                params[n] -= _STEP * (first[n] / (1 - 0.9**step)) / root
    return Weights(
        features=FEATURES, mean=mean.tolist(), scale=scale.tolist(),
        hidden=[_floats(params[0][feature]) for feature in range(size)],
        hidden_bias=params[1].tolist(), out=params[2].tolist(), out_bias=float(params[3][0]), threshold=0.5,
    )  # fmt: skip


def _slopes(params: Sequence[Floats], inputs: Floats, labels: Floats, share: Floats) -> list[Floats]:
    hidden = np.tanh(inputs @ params[0] + params[1])
    told = 1 / (1 + np.exp(-(hidden @ params[2] + params[3])))
    error = (told - labels) * share / len(labels)
    back = np.outer(error, params[2]) * (1 - hidden * hidden)
    return [
        inputs.T @ back + _DECAY * params[0], back.sum(0),
        hidden.T @ error + _DECAY * params[2], np.array([error.sum()]),
    ]  # fmt: skip


def _calibrated(weights: Weights, choose: Sequence[Example]) -> Weights:
    """Stretch and shift the log odds so that probabilities hold on another part (Platt's scaling)."""
    classifier = Classifier(weights)
    told = np.clip(score(classifier, choose), 1e-6, 1 - 1e-6)
    labels = np.array([each.supported for each in choose])
    is_possible = np.array([len(each.places) > 0 for each in choose])
    odds = np.log(told / (1 - told))[is_possible]
    curve = fit_curve(odds.tolist(), labels[is_possible].astype(float).tolist())
    fitted = msgspec.structs.replace(
        weights, out=[curve.slope * each for each in weights.out], out_bias=curve.slope * weights.out_bias + curve.start
    )
    threshold = best_threshold(labels, score(Classifier(fitted), choose))
    return msgspec.structs.replace(
        fitted,
        mean=_rounded(fitted.mean),
        scale=_rounded(fitted.scale),
        hidden=[_rounded(row) for row in fitted.hidden],
        hidden_bias=_rounded(fitted.hidden_bias),
        out=_rounded(fitted.out),
        threshold=round(threshold, 3),
    )


def _floats(row: Floats) -> list[float]:
    return row.tolist()


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
