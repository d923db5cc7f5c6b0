"""Owns the calibration of a collection by labelled queries: what relevance is worth, and from where on it answers."""

from collections.abc import Sequence

from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.evidence import Example, are_enough, control, evidence
from backstay.retrieval.fusion import ELSEWHERE, relevance
from backstay.retrieval.search import Search
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import (
    AnswerCalibration,
    CalibrationView,
    Collection,
    Found,
    LabelledQuestion,
    Query,
    RelevanceCalibration,
)
from backstay.statistics.logistic import Curve, fit_curve
from backstay.statistics.reliability import calibration_error

_RESULTS = 10
_PARTS = 5
_KNOWN = 3.0
"""How firmly a curve is drawn to the one that holds elsewhere: a few dozen judged results outweigh it."""

Judged = tuple[float, bool]
"""A result's score, and whether it is relevant."""


class Calibrations:
    """Calibrates collections, and forgets it."""

    def __init__(self, store: RetrievalStore, search: Search):
        self._store = store
        self._search = search

    async def make(self, caller: Caller, name: str, labelled: Sequence[LabelledQuestion]) -> CalibrationView:
        """Search by each query, keep what its labels show of the live generation, and return it.

        Raises:
            InvalidRequest: No query says what is relevant to it, nor whether it has an answer.
            NotFound: There is no such collection.
            BackstayError: What a call of the embedding model may end with. What was kept before stays.
        """
        if all(each.relevant is None and each.answerable is None for each in labelled):
            raise InvalidRequest(
                "No query says what it shows. Give each `relevant` (external ids of documents) or `answerable`.",
                param="queries",
            )
        collection = await self._store.find(caller.tenant_id, name)
        analyzer = Analyzer(collection.language)
        judged: list[list[Judged]] = []
        examples: list[Example] = []
        for each in labelled:
            query = Query(text=each.query, limit=_RESULTS, principals=each.principals)
            found = await self._search.find(caller, name, query)
            if each.relevant is not None:
                judged.append([(result.score, result.external_id in each.relevant) for result in found])
            if each.answerable is not None:
                examples.append((evidence(analyzer, each.query, found), _would_be_wrong(each, found)))
        curve, told = calibrate_relevance(judged)
        await self._store.set_calibration(collection, curve, examples or None, len(labelled))
        return CalibrationView(
            collection=name, generation=collection.generation, relevance=told, answers=_answers(collection, examples)
        )

    async def forget(self, caller: Caller, name: str) -> None:
        """Go back to what holds elsewhere. Raises ``NotFound``."""
        await self._store.forget_calibration(await self._store.find(caller.tenant_id, name))


def calibrate_relevance(judged: Sequence[Sequence[Judged]]) -> tuple[Curve | None, RelevanceCalibration | None]:
    """Fit the curve of relevance to the judged results of each query; tell what it gains on queries it has not seen.

    Returns:
        ``None`` twice where all results are relevant, or none is: that shows nothing of scores.
    """
    results = [each for row in judged for each in row]
    relevant = sum(is_relevant for _, is_relevant in results)
    if relevant in (0, len(results)):
        return None, None
    after: list[float] = []
    labels: list[bool] = []
    for part in range(_PARTS):
        others = [each for n, row in enumerate(judged) if n % _PARTS != part for each in row]
        curve = fit(others)
        seen = [each for row in judged[part::_PARTS] for each in row]
        after += [curve.at(score) for score, _ in seen]
        labels += [is_relevant for _, is_relevant in seen]
    before = [relevance(score) for score, _ in results]
    return fit(results), RelevanceCalibration(
        results=len(results),
        relevant=relevant,
        error_before=round(calibration_error(before, [is_relevant for _, is_relevant in results]), 4),
        error_after=round(calibration_error(after, labels), 4),
    )


def fit(results: Sequence[Judged]) -> Curve:
    """Fit the curve of relevance to judged results; where they are few, it is near the one that holds elsewhere."""
    scores, labels = [score for score, _ in results], [float(is_relevant) for _, is_relevant in results]
    return fit_curve(scores, labels, known=ELSEWHERE, weight=_KNOWN)


def _would_be_wrong(labelled: LabelledQuestion, found: Sequence[Found]) -> bool:
    """Tell whether an answer would be made of passages that do not hold it, as far as labels say."""
    if not labelled.answerable:
        return True
    return labelled.relevant is not None and not any(result.external_id in labelled.relevant for result in found)


def _answers(collection: Collection, examples: Sequence[Example]) -> AnswerCalibration | None:
    if not examples:
        return None
    rate = collection.settings.wrong_answers
    chosen = control(rate, examples)
    return AnswerCalibration(
        questions=len(examples),
        unanswerable=sum(wrong for _, wrong in examples),
        wrong_answers=rate,
        enough=are_enough(rate, len(examples)),
        threshold=round(max(chosen.threshold, 0.0), 4) if chosen.answered else None,
        answered=sum(score >= chosen.threshold for score, _ in examples),
        wrong=sum(wrong and score >= chosen.threshold for score, wrong in examples),
    )
