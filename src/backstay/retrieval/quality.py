"""Owns the watch over a collection without labels: whether it is asked, and answers, as it did before."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from statistics import fmean

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.retrieval.quality_store import PastAsk, QualityStore
from backstay.retrieval.store import RetrievalStore
from backstay.statistics.binomial import interval
from backstay.statistics.bootstrap import mean_interval
from backstay.statistics.drift import discrepancy, stability_index

NOW = dt.timedelta(days=1)
BEFORE = dt.timedelta(days=28)
"""Ends where the day that is looked at begins."""
_MOST = 2000
_MOST_VECTORS = 300
"""Of each window: the test looks at all pairs."""
FEWEST = 50
"""Asks of each window, below which nothing is said of a change."""
_CONFIDENCE = 0.999
"""Of each of two intervals that must not meet: it is looked many times a day."""
_CHANCE = 0.002
_LARGE_INDEX = 0.25
_LIKELY = 0.5
_SAME = 0.7
"""Cosine from which on two unanswered questions are one gap; between paraphrases MiniLM gives 0.7 to 0.9."""
_MOST_GAPS = 10
_MOST_UNANSWERED = 1000
_EXAMPLES = 3


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of time came to."""

    since: dt.datetime
    until: dt.datetime
    asks: int
    """Searches and answers, the last 2,000 at most."""
    answers: int
    """Of these, questions that were to be answered."""
    abstained: float | None
    """The share of them that the documents did not answer; ``None``: there were none."""
    relevance: float | None
    """The mean of the best result's, a miss counting as 0; ``None``: nothing was asked by both kinds of evidence."""
    coverage: float | None
    """The share of these asks whose best result is more likely relevant than not."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Questions of one kind that the documents do not answer."""

    questions: int
    examples: list[str]


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How a collection does, now and before."""

    now: Window
    before: Window
    stability_index: float | None
    """Of the best result's relevance; ``None``: too few asks."""
    discrepancy: float | None
    """Of the queries' vectors: squared mean discrepancy; ``None``: too few, or texts are not kept."""
    chance: float | None
    """How likely the vectors are so far apart if nothing has changed."""
    changes: list[str]
    """What is not as it was, in words for people; none: nothing is."""
    gaps: list[Gap]
    """What was not answered, of the last 28 days, the most frequent first."""


class QualityWatch:
    """Tells how collections do."""

    def __init__(self, store: RetrievalStore, quality: QualityStore):
        self._store = store
        self._quality = quality

    async def of(self, tenant_id: str, name: str, now: dt.datetime) -> Quality:
        """Compare the last day with the four weeks before it. Raises ``NotFound``."""
        collection = await self._store.find(tenant_id, name)
        begins = now - NOW
        current = await self._quality.asks(collection, begins, now, limit=_MOST)
        earlier = await self._quality.asks(collection, begins - BEFORE, begins, limit=_MOST)
        windows = _window(current, begins, now), _window(earlier, begins - BEFORE, begins)
        # The tests take a tenth of a second, in which others are answered.
        return await asyncio.to_thread(compare, *windows, current, earlier)


def compare(now: Window, before: Window, current: Sequence[PastAsk], earlier: Sequence[PastAsk]) -> Quality:
    """Tell what is not as it was."""
    changes: list[str] = []
    if (words := _more_abstained(current, earlier)) is not None:
        changes.append(words)
    index: float | None = None
    found, usual = _relevances(current), _relevances(earlier)
    if min(len(found), len(usual)) >= FEWEST:
        index = stability_index(usual, found)
        low, high = mean_interval(usual, confidence=_CONFIDENCE)[0], mean_interval(found, confidence=_CONFIDENCE)[1]
        if high < low:
            changes.append(f"The best result's relevance fell from {fmean(usual):.2f} to {fmean(found):.2f}.")
        # By chance alone the index of small samples is large.
        elif index - (1 / len(found) + 1 / len(usual)) * 2 * 9 >= _LARGE_INDEX:
            changes.append(f"The relevance of results is spread otherwise: stability index {index:.2f}.")
    apart, chance = _drift(current, earlier)
    if chance is not None and chance <= _CHANCE:
        changes.append(f"Other things are asked than before: chance of that being none {chance:.3f}.")
    return Quality(
        now=now,
        before=before,
        stability_index=None if index is None else round(index, 4),
        discrepancy=apart,
        chance=chance,
        changes=changes,
        gaps=gaps([*current, *earlier]),
    )


def gaps(asks: Sequence[PastAsk]) -> list[Gap]:
    """Group the last questions that were not answered: each joins the group whose first question it is most like."""
    told = [
        (each.query, np.frombuffer(each.direction, dtype=np.float16).astype(np.float32))
        for each in asks
        if each.abstained and each.query is not None and each.direction is not None
    ][:_MOST_UNANSWERED]
    if not told:
        return []
    vectors = np.array([vector for _, vector in told])
    heads: list[int] = []
    groups: list[list[str]] = []
    for place, (query, vector) in enumerate(told):
        likeness = vectors[heads] @ vector if heads else np.zeros(0, dtype=np.float32)
        best = int(np.argmax(likeness)) if heads else -1
        if heads and likeness[best] >= _SAME:
            groups[best].append(query)
        else:
            heads.append(place)
            groups.append([query])
    groups.sort(key=len, reverse=True)
    return [Gap(questions=len(group), examples=list(dict.fromkeys(group))[:_EXAMPLES]) for group in groups[:_MOST_GAPS]]


def _window(asks: Sequence[PastAsk], since: dt.datetime, until: dt.datetime) -> Window:
    answers = [each.abstained for each in asks if each.abstained is not None]
    found = _relevances(asks)
    return Window(
        since=since,
        until=until,
        asks=len(asks),
        answers=len(answers),
        abstained=round(fmean(answers), 4) if answers else None,
        relevance=round(fmean(found), 4) if found else None,
        coverage=round(fmean(each >= _LIKELY for each in found), 4) if found else None,
    )


def _relevances(asks: Sequence[PastAsk]) -> list[float]:
    return [each.relevance for each in asks if each.relevance is not None]


def _more_abstained(current: Sequence[PastAsk], earlier: Sequence[PastAsk]) -> str | None:
    now = [each.abstained for each in current if each.abstained is not None]
    before = [each.abstained for each in earlier if each.abstained is not None]
    if min(len(now), len(before)) < FEWEST:
        return None
    low, high = interval(sum(now), len(now), _CONFIDENCE)[0], interval(sum(before), len(before), _CONFIDENCE)[1]
    if low <= high:
        return None
    return f"Of the questions {fmean(now):.0%} are not answered; before it were {fmean(before):.0%}."


def _drift(current: Sequence[PastAsk], earlier: Sequence[PastAsk]) -> tuple[float | None, float | None]:
    now, before = _vectors(current), _vectors(earlier)
    if min(len(now), len(before)) < FEWEST or now[0].shape != before[0].shape:
        return None, None
    apart, chance = discrepancy(np.array(before), np.array(now))
    return round(apart, 6), round(chance, 4)


def _vectors(asks: Sequence[PastAsk]) -> list[npt.NDArray[np.float32]]:
    """Return the vectors of a window, evenly over it."""
    told = [each.direction for each in asks if each.direction is not None]
    every = max(1, -(-len(told) // _MOST_VECTORS))
    return [np.frombuffer(each, dtype=np.float16).astype(np.float32) for each in told[::every]]
