"""Owns whether passages support a sentence: the place that does, found by alignment, with facts compared exactly."""

from collections.abc import Sequence

import msgspec

from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.chunking import sentences
from backstay.retrieval.facts import Facts, read_facts
from backstay.retrieval.types import Citation, Found

COVERED = 0.6
"""The share of a sentence's terms that one place must have."""
_WINDOW = 2
"""Neighbouring sentences that may support one together."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One or two sentences of a passage."""

    passage: Found
    start: int
    end: int
    """In characters of the passage."""
    terms: frozenset[str]
    facts: Facts


class Verifier:
    """Checks sentences against the passages of one answer."""

    def __init__(self, analyzer: Analyzer, passages: Sequence[Found]):
        self._analyzer = analyzer
        self._places = [place for passage in passages for place in _places(analyzer, passage)]

    def citations(self, sentence: str, *, most: int = 2) -> list[Citation]:
        """Return the places that support a sentence, the best first; none: nothing does.

        A place supports it that has most of its terms, each of its numbers and names, and denies what it denies.
        """
        terms = frozenset(self._analyzer.terms(sentence))
        facts = read_facts(sentence)
        if not terms:
            return []
        scored = [(len(terms & place.terms) / len(terms), place) for place in self._places]
        good = [(covered, place) for covered, place in scored if covered >= COVERED and _agree(facts, place)]
        good.sort(key=lambda pair: (-pair[0], pair[1].end - pair[1].start))
        chosen: list[Place] = []
        for _, place in good:
            if not any(_overlap(place, other) for other in chosen):
                chosen.append(place)
        return [_citation(place) for place in chosen[:most]]


def _places(analyzer: Analyzer, passage: Found) -> list[Place]:
    """Cut a passage into its sentences, and pairs of neighbours; its title and heading are a part of each."""
    spans = sentences(passage.text)
    above = f"{passage.title}. {passage.heading}."
    above_terms, above_facts = frozenset(analyzer.terms(above)), read_facts(above)
    found: list[Place] = []
    for size in range(1, _WINDOW + 1):
        for first in range(len(spans) - size + 1):
            start, end = spans[first][0], spans[first + size - 1][1]
            text = passage.text[start:end]
            facts = read_facts(text)
            # A name at the beginning of a sentence is one all the same: any word may be what a name is found in.
            known = facts.names | above_facts.names | {word.casefold().strip(".,;:!?()\"'’") for word in text.split()}
            found.append(
                Place(
                    passage=passage,
                    start=start,
                    end=end,
                    terms=frozenset(analyzer.terms(text)) | above_terms,
                    facts=msgspec.structs.replace(
                        facts, names=frozenset(known), numbers=facts.numbers | above_facts.numbers
                    ),
                )
            )
    return found


def _agree(facts: Facts, place: Place) -> bool:
    held = place.facts
    return facts.numbers <= held.numbers and facts.names <= held.names and facts.negated == held.negated


def _overlap(one: Place, other: Place) -> bool:
    return one.passage is other.passage and one.start < other.end and other.start < one.end


def _citation(place: Place) -> Citation:
    passage = place.passage
    return Citation(
        external_id=passage.external_id,
        page=passage.page,
        start=passage.start + place.start,
        end=passage.start + place.end,
        quote=passage.text[place.start : place.end],
    )
