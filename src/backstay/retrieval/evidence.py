"""Owns how likely it is that the passages found hold an answer to a question, and from where on an answer is given.

A few numbers of the question and the passages, weighed by what was learnt from conversations whose passages are known
to answer or not (``python -m bench abstention --train`` writes ``evidence.json``). The threshold is chosen by conformal
risk control for a wanted rate of wrong answers, on examples that nothing was learnt from: those that come with the
package, or a collection's own.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec

from backstay.retrieval.alignment import Reading, read, weigh
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.chunking import sentences
from backstay.retrieval.types import Found
from backstay.statistics.conformal import Control, control_risk

FEATURES = ("best", "first_three", "gap", "in_a_sentence", "in_a_passage", "in_all", "missing", "names", "length")
"""What is told of a question and its passages, in this order."""

_PASSAGES = 5

Example = tuple[float, bool]
"""How likely the passages were told to hold an answer, and whether an answer would have been wrong."""


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was learnt."""

    features: tuple[str, ...]
    weights: list[float]
    start: float
    examples: list[Example]
    """By which the threshold is chosen."""


def describe(analyzer: Analyzer, question: str, found: Sequence[Found]) -> list[float]:
    """Return the features of a question and what was found for it, the best first; in the order of ``FEATURES``."""
    asked, first = read(analyzer, question), found[:_PASSAGES]
    scores = [passage.score for passage in found] or [0.0]
    passages = [read(analyzer, f"{each.title}. {each.heading}. {each.text}") for each in first]
    places = [read(analyzer, passage.text[start:end]) for passage in first for start, end in sentences(passage.text)]
    weights = weigh(place.bag for place in places)
    top = math.log(1 + max(len(places), 1))

    def covered(by: frozenset[str]) -> float:
        whole = sum(weights.get(term, top) for term in asked.bag)
        return sum(weights.get(term, top) for term in asked.bag & by) / whole if whole else 0.0

    everywhere = frozenset[str]().union(*(each.bag for each in passages))
    return [
        scores[0],
        sum(scores[:3]) / 3,
        scores[0] - scores[-1],
        max((covered(place.bag) for place in places), default=0.0),
        max((covered(passage.bag) for passage in passages), default=0.0),
        covered(everywhere),
        math.log1p(len(asked.bag - everywhere)),
        _names(asked, passages),
        math.log1p(len(asked.bag)),
    ]


def evidence(analyzer: Analyzer, question: str, found: Sequence[Found]) -> float:
    """Return how likely it is that the passages found hold an answer, from 0 to 1."""
    told = learnt()
    odds = told.start + math.fsum(
        weight * value for weight, value in zip(told.weights, describe(analyzer, question, found), strict=True)
    )
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, odds))))


def control(rate: float, own: Sequence[Example] | None = None) -> Control:
    """Return from which evidence on an answer is given, so that at most a share of all questions gets a wrong one.

    Args:
        own: Examples of the collection itself. Where there are none, or too few to show anything for such a share,
            those of the package stand in.
    """
    examples = own if own and are_enough(rate, len(own)) else learnt().examples
    return control_risk([score for score, _ in examples], [wrong for _, wrong in examples], rate=rate)


def are_enough(rate: float, examples: int) -> bool:
    """Tell whether so many examples, were none of them wrong, would show that a share is not exceeded."""
    return rate * (examples + 1) >= 1


@cache
def learnt() -> Weights:
    """Read what comes with the package."""
    told = msgspec.json.decode((files("backstay.retrieval") / "evidence.json").read_bytes(), type=Weights)
    if told.features != FEATURES:
        raise ValueError("the weights are of other features: `python -m bench abstention --train` learns them anew")
    return told


def _names(asked: Reading, passages: Sequence[Reading]) -> float:
    """Return the share of a question's names that the passage has that has most of them."""
    names = asked.facts.names
    if not names:
        return 1.0
    return max((len(names & passage.facts.words) / len(names) for passage in passages), default=0.0)
