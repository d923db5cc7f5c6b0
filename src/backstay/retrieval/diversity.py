"""Owns diversity: the order of hits in which none says only what one before it has said."""

from collections.abc import Mapping, Sequence

import numpy as np

from backstay.retrieval.fusion import Floats
from backstay.retrieval.ranking_store import Facts
from backstay.retrieval.types import Found


def diversify(found: Sequence[Found], facts: Mapping[str, Facts], share: float) -> list[Found]:
    """Order hits by maximal marginal relevance; their scores stay.

    Relevance is the score, from 0 for the worst hit to 1 for the best; likeness is the cosine of two chunks' vectors. A
    chunk without a vector is like none.

    Args:
        share: Of relevance; the rest is of being other than what stands before.

    Source: Carbonell and Goldstein, "The use of MMR, diversity-based reranking" (SIGIR 1998).
    """
    if len(found) < 3:
        return list(found)
    relevance = _scaled(np.array([each.score for each in found], dtype=np.float32))
    likeness = _likeness(found, facts)
    order = [int(np.argmax(relevance))]
    nearest = likeness[order[0]].copy()
    left = np.ones(len(found), dtype=bool)
    left[order[0]] = False
    while left.any():
        worth = np.where(left, share * relevance - (1 - share) * nearest, -np.inf)
        chosen = int(np.argmax(worth))
        order.append(chosen)
        left[chosen] = False
        nearest = np.maximum(nearest, likeness[chosen])
    return [found[place] for place in order]


def _scaled(scores: Floats) -> Floats:
    low, high = float(scores.min()), float(scores.max())
    return np.ones_like(scores) if high <= low else (scores - low) / np.float32(high - low)


def _likeness(found: Sequence[Found], facts: Mapping[str, Facts]) -> Floats:
    vectors = [facts[each.chunk_id].vector if each.chunk_id in facts else None for each in found]
    size = next((len(vector) for vector in vectors if vector is not None), 1)
    rows = np.array([vector or [0.0] * size for vector in vectors], dtype=np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
    return rows @ rows.T
