"""Owns whether passages support a sentence: the place that does, found by alignment, with facts compared exactly."""

from collections.abc import Sequence

import msgspec

from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.chunking import sentences
from backstay.retrieval.facts import Facts, read_facts
from backstay.retrieval.types import Citation, Found

COVERED = 0.6
"""The share of a sentence's terms that one place must have."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of a passage."""

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
        return [_citation(place) for _, place in good[:most]]


def _places(analyzer: Analyzer, passage: Found) -> list[Place]:
    """Cut a passage into its sentences; its title and heading are a part of each.

    One sentence must support another by itself: two together would lend each other their names and denials.
    """
    above = f"{passage.title}. {passage.heading}."
    above_terms, above_facts = frozenset(analyzer.terms(above)), read_facts(above)
    found: list[Place] = []
    for start, end in sentences(passage.text):
        text = passage.text[start:end]
        facts = read_facts(text)
        # A name at the beginning of a sentence is one all the same: any word may be what a name is found in.
        words = {word.casefold().strip(".,;:!?()\"'’") for word in text.split()}
        held = msgspec.structs.replace(
            facts, names=facts.names | above_facts.names | words, numbers=facts.numbers | above_facts.numbers
        )
        terms = frozenset(analyzer.terms(text)) | above_terms
        found.append(Place(passage=passage, start=start, end=end, terms=terms, facts=held))
    return found


def _agree(facts: Facts, place: Place) -> bool:
    held = place.facts
    return facts.numbers <= held.numbers and facts.names <= held.names and facts.negated == held.negated


def _citation(place: Place) -> Citation:
    passage = place.passage
    return Citation(
        external_id=passage.external_id,
        page=passage.page,
        start=passage.start + place.start,
        end=passage.start + place.end,
        quote=passage.text[place.start : place.end],
    )
