"""Owns the one score of a hybrid search: evidence by words and by meaning, each as far as it stands out.

BM25 and cosines have no common scale, and neither says by itself whether it is worth anything: an embedding model that
does not know a language still ranks its texts. So each is measured against the whole collection, as the number of its
standard deviations above the mean over all chunks. What a useful search finds stands out by five or ten; the best of a
useless one by two or three, like the best of any heap. How the numbers were chosen: ``docs/decisions/0029-search.md``.
"""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.statistics.logistic import Curve

Floats = npt.NDArray[np.float32]

WORDS_SHARE = 0.42
STRANGERS = 50
"""Chunks that a query has nothing in common with, which every collection is taken to have besides its own."""
POWER = 1.2
"""Above 1: what stands out far in one counts for more than what stands out a little in both."""

ELSEWHERE = Curve(start=-4.9, slope=0.8)
"""Of the log odds that a result is relevant, by its score, where a collection has no labels: fitted to the first
ten results on six judged sets (codebases, cranfield, xquad in en, de, zh, ar), each counting the same, then drawn to
their mean by a fifth, as helped most with a set left out. On such a set the mean error of the probability was 0.07 to
0.16: it says little. With 20 labelled queries it is 0.03 to 0.05 (``python -m bench relevance``)."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the candidates of one query, one entry a candidate, and of the collection."""

    lexical: Floats
    """BM25."""
    cosines: Floats
    all_lexical: Floats
    """BM25 of every chunk."""
    some_cosines: Floats
    """The cosines of chunks that were chosen without regard to the query."""


def fuse(evidence: Evidence) -> Floats:
    """Return a score for each candidate: the power mean of how far it stands out by words and by meaning."""
    words = _standing_out(evidence.lexical, evidence.all_lexical)
    meaning = _standing_out(evidence.cosines, evidence.some_cosines)
    mean = WORDS_SHARE * words**POWER + (1 - WORDS_SHARE) * meaning**POWER
    return (mean ** (1 / POWER)).astype(np.float32)


def relevance(score: float, curve: Curve | None = None) -> float:
    """Return how likely it is that a result with such a score is relevant, from 0 to 1.

    Args:
        curve: What labels of the collection showed; ``None``: it has none, and what holds elsewhere is told.
    """
    return (curve or ELSEWHERE).at(score)


def _standing_out(values: Floats, background: Floats) -> Floats:
    """Return by how many standard deviations values are above the mean of a background; 0 for those below it.

    The background is taken to have ``STRANGERS`` more chunks, of value 0: by itself, that of a small collection would
    let nothing stand out, since of n values none is more than √(n - 1) deviations above their mean.
    """
    size = len(background) + STRANGERS
    mean = float(background.sum()) / size
    deviation = math.sqrt(max(float(np.square(background, dtype=np.float64).sum()) / size - mean * mean, 0.0))
    if deviation < 1e-6:
        return np.zeros_like(values)
    return np.maximum((values - mean) / deviation, 0).astype(np.float32)
