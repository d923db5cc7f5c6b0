"""Owns the one score of a hybrid search: evidence by words and by meaning, each as far as it stands out."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the candidates of one query, one entry a candidate."""

    lexical: Floats
    """BM25."""
    cosines: Floats
    texts: Sequence[Sequence[str]]
    """The candidates' terms, in their order."""
    terms: Sequence[str]
    """The query's."""
    all_lexical: Floats
    """BM25 of every chunk."""
    some_cosines: Floats
    """The cosines of chunks that were chosen without regard to the query."""


def fuse(evidence: Evidence) -> Floats:
    """Return a score for each candidate; larger is better."""
    words = _standing_out(evidence.lexical, evidence.all_lexical)
    meaning = _standing_out(evidence.cosines, evidence.some_cosines)
    return (words + meaning) / 2


def _standing_out(values: Floats, background: Floats) -> Floats:
    """Return by how many standard deviations values are above the mean of a background."""
    deviation = float(background.std()) if len(background) else 0.0
    mean = float(background.mean()) if len(background) else 0.0
    return ((values - mean) / deviation if deviation > 1e-9 else values - mean).astype(np.float32)
