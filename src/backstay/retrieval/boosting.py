"""Owns boosts: how much more the scores of newer documents count, and of those with a larger number."""

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from backstay.retrieval.ranking_store import Facts
from backstay.retrieval.ranking_types import Authority, Ranking, Recency
from backstay.retrieval.types import Found

_DAY_S = 86_400.0


def boost(found: Sequence[Found], facts: Mapping[str, Facts], ranking: Ranking, now: dt.datetime) -> list[Found]:
    """Return hits with their scores boosted, the best first. What has no date or number gets the least there is."""
    boosted: list[Found] = []
    for each in found:
        factor = _factor(facts.get(each.chunk_id), ranking, now)
        # A cosine or a reranker's logit may be below 0, where less is worse.
        score = each.score * factor if each.score >= 0 else each.score / factor
        boosted.append(msgspec.structs.replace(each, score=round(score, 6)))
    return sorted(boosted, key=lambda each: -each.score)


def _factor(facts: Facts | None, ranking: Ranking, now: dt.datetime) -> float:
    factor = 1.0
    if ranking.recency is not None:
        factor *= (1 - ranking.recency.weight) + ranking.recency.weight * _recency(ranking.recency, facts, now)
    if ranking.authority is not None:
        factor *= (1 - ranking.authority.weight) + ranking.authority.weight * _authority(ranking.authority, facts)
    return factor


def _recency(recency: Recency, facts: Facts | None, now: dt.datetime) -> float:
    at = None if facts is None else facts.updated_at if recency.field is None else _date(facts.dated)
    if at is None:
        return 0.0
    age_days = max((now - at).total_seconds() / _DAY_S, 0.0)
    return 2.0 ** (-age_days / recency.half_life_days)


def _authority(authority: Authority, facts: Facts | None) -> float:
    try:
        number = float((facts and facts.numbered) or 0.0)
    except ValueError:
        return 0.0
    return 1 / (1 + authority.pivot / number) if number > 0 else 0.0


def _date(told: str | None) -> dt.datetime | None:
    """Read a date or a time in ISO 8601; without a zone it is UTC."""
    try:
        at = dt.datetime.fromisoformat(told) if told else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
