"""Owns whether a kept question means the same as a new one: a score, and the differences that forbid it."""

from collections.abc import Sequence

import msgspec
import numpy as np

from backstay.cache.topics import Topics, Vectors
from backstay.cache.vetoes import Reading, veto

CANDIDATES = 40
"""Nearest kept questions that are looked at, by cosine."""


class Verifier(msgspec.Struct, frozen=True, kw_only=True):
    """How two questions are compared."""

    topics: Topics | None = None
    """``None``: nothing was learned, the cosine alone is the score."""
    nearest: float = 0.6
    """Lowest cosine of two questions of one meaning: what was learned says nothing of questions about other things."""

    def scores(self, question: Vectors, kept: Vectors) -> Vectors:
        """Score each kept question against one new one, from 0 to 1.

        Args:
            question: Its embedding, of length 1.
            kept: One embedding a row.
        """
        cosines = kept @ question
        if self.topics is None:
            return np.clip(cosines, 0, 1)
        alike = self.topics.probabilities(kept) @ self.topics.probabilities(question[None])[0]
        return np.where(cosines >= self.nearest, alike, np.float32(0))


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """The best kept question, by its place among the candidates."""

    place: int
    score: float


def choose(scores: Vectors, question: Reading, kept: Sequence[Reading], *, threshold: float = 0.0) -> Match | None:
    """Choose the candidate of the best score that no difference forbids; ``None`` where none reaches the threshold."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    for place in order:
        score = float(scores[place])
        if score <= 0 or score < threshold:
            return None
        if veto(question, kept[place]) is None:
            return Match(place=place, score=score)
    return None
