"""Owns the measures of rankings against judgements: nDCG, recall and reciprocal rank."""

import math
from collections.abc import Mapping, Sequence

Rankings = Mapping[str, Sequence[str]]
"""Documents in rank order, by query."""
Judgements = Mapping[str, Mapping[str, float]]
"""Grades of documents, by query; 0 or none: not relevant."""

CUT = 10
RECALLS = (5, 10, 20, 100)


def evaluate(rankings: Rankings, judged: Judgements) -> dict[str, float]:
    """Return the means over all judged queries of nDCG@10, recall@k and MRR@10; a query without answer counts as 0."""
    queries = [query for query in judged if any(grade > 0 for grade in judged[query].values())]
    measured = [_measure(rankings.get(query, ()), judged[query]) for query in queries]
    names = [f"ndcg@{CUT}", *(f"recall@{cut}" for cut in RECALLS), f"mrr@{CUT}"]
    return {name: sum(each[name] for each in measured) / max(len(measured), 1) for name in names}


def _measure(ranking: Sequence[str], grades: Mapping[str, float]) -> dict[str, float]:
    relevant = {document for document, grade in grades.items() if grade > 0}
    first = next((rank for rank, document in enumerate(ranking[:CUT], 1) if document in relevant), None)
    return {
        f"ndcg@{CUT}": ndcg(ranking, grades),
        **{f"recall@{cut}": len(relevant.intersection(ranking[:cut])) / len(relevant) for cut in RECALLS},
        f"mrr@{CUT}": 0.0 if first is None else 1 / first,
    }


def ndcg(ranking: Sequence[str], grades: Mapping[str, float], *, cut: int = CUT) -> float:
    """Return the normalized discounted cumulative gain, with the grade itself as the gain.

    Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002); as in trec_eval.
    """
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    best = _dcg(ideal[:cut])
    return _dcg([max(grades.get(document, 0.0), 0.0) for document in ranking[:cut]]) / best if best else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
