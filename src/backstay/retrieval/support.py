"""Owns whether passages support a sentence: the place that does, found by alignment, with facts compared exactly."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from backstay.retrieval.alignment import Floats, Reading, Surroundings, compare, read, weigh
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.chunking import sentences
from backstay.retrieval.classifier import learnt
from backstay.retrieval.denials import Denials, deny_alike, read_denials
from backstay.retrieval.facts import Facts, agree, read_facts, together
from backstay.retrieval.types import Citation, Found

_BULLET = re.compile(r"^\s*(?:\d{1,2}[.)]|[*•–-])\s+")
"""Of a list in an answer; no part of what is said."""
_LOOKED_AT = 4
"""Places that are compared in detail: those that have most of a sentence's terms, of all whose facts agree."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of a passage."""

    passage: Found
    start: int
    end: int
    """In characters of the passage."""
    reading: Reading
    denials: Denials
    facts: Facts
    """With those of the title and the headings, which stand above each sentence."""
    near: Surroundings


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A place whose facts agree with a sentence, and how both are aligned."""

    place: Place
    features: Floats


class Verifier:
    """Checks sentences against the passages of one answer."""

    def __init__(self, analyzer: Analyzer, passages: Sequence[Found]):
        self._analyzer = analyzer
        self._places = list(_places(analyzer, passages))
        self._names = frozenset[str]().union(*(place.facts.names for place in self._places))
        self._words = frozenset[str]().union(*(place.facts.words for place in self._places))

    def citations(self, sentence: str, *, most: int = 2) -> list[Citation]:
        """Return the places that support a sentence, the best first; none: nothing does.

        A place supports it that has each of its numbers, units and names, denies what it denies, and is likely to say
        the same by how both are aligned.
        """
        compared = self.compared(sentence)
        if not compared:
            return []
        classifier = learnt()
        likely = classifier.probabilities(np.array([each.features for each in compared]))
        best = sorted(zip(likely.tolist(), compared, strict=True), key=lambda pair: -pair[0])
        return [_citation(each.place) for chance, each in best[:most] if chance >= classifier.threshold]

    def compared(self, sentence: str) -> list[Compared]:
        """Return the places that may support a sentence, as none of its facts is against it, the likeliest first."""
        sentence = _BULLET.sub("", sentence)
        claim, denials = read(self._analyzer, sentence), read_denials(self._analyzer, sentence)
        # Small words have a capital in a title, and tell no name.
        names = frozenset(name for name in claim.facts.names if self._analyzer.terms(name))
        facts = msgspec.structs.replace(claim.facts, names=names)
        if not claim.bag and not facts.numbers:
            return []
        good = [
            place
            for place in self._places
            if agree(facts, place.facts) and self._is_of_subject(facts, place) and deny_alike(denials, place.denials)
        ]
        if claim.bag:
            good = [place for place in good if claim.bag & place.reading.bag]
        good.sort(key=lambda place: (-len(claim.bag & place.reading.bag), place.end - place.start))
        return [Compared(place=each, features=compare(claim, each.reading, each.near)) for each in good[:_LOOKED_AT]]

    def _is_of_subject(self, facts: Facts, place: Place) -> bool:
        """Tell whether the word that a sentence begins with is there, if it is a name, or nowhere else either."""
        word = facts.opening
        if word is None or word in place.facts.words:
            return True
        if word in self._names:
            return False
        return word in self._words or not self._analyzer.terms(word)


def _places(analyzer: Analyzer, passages: Sequence[Found]) -> Iterator[Place]:
    """Cut passages into their sentences.

    One sentence must support another by itself: two together would lend each other their names and denials.
    """
    cut = [(passage, sentences(passage.text)) for passage in passages]
    readings = [[read(analyzer, passage.text[start:end]) for start, end in spans] for passage, spans in cut]
    weights = weigh(each.bag for row in readings for each in row)
    everywhere = frozenset(weights)
    for (passage, spans), row in zip(cut, readings, strict=True):
        above = f"{passage.title}. {passage.heading}."
        title, above_facts = read(analyzer, above).bag, read_facts(above)
        whole = title.union(*(each.bag for each in row))
        for number, ((start, end), reading) in enumerate(zip(spans, row, strict=True)):
            neighbours = row[max(0, number - 1) : number + 2]
            yield Place(
                passage=passage,
                start=start,
                end=end,
                reading=msgspec.structs.replace(reading, bag=reading.bag | title),
                denials=read_denials(analyzer, passage.text[start:end]),
                facts=together(reading.facts, above_facts),
                near=Surroundings(
                    around=title.union(*(each.bag for each in neighbours)),
                    passage=whole,
                    everywhere=everywhere | title,
                    weights=weights,
                ),
            )


def _citation(place: Place) -> Citation:
    passage = place.passage
    turned = bisect_right(passage.page_starts, passage.start + place.start)
    return Citation(
        external_id=passage.external_id,
        page=None if passage.page is None else passage.page + turned,
        start=passage.start + place.start,
        end=passage.start + place.end,
        quote=passage.text[place.start : place.end],
    )
