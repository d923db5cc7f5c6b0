"""Owns how a sentence is laid beside a place of a passage: what of it is there, in which order, what is new."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.facts import Facts, is_of_number, read_facts

Floats = npt.NDArray[np.float64]

FEATURES = (
    "covered", "covered_by_weight", "covered_around", "covered_in_passage", "new_terms", "new_to_all",
    "longest_common", "longest_run", "pairs_covered", "longest_new_run", "all_words_covered", "word_pairs_covered",
    "letters_covered", "of_the_place", "inversions", "inverted_names", "passive", "opposites",
    "new_scope", "length", "names", "numbers",
)  # fmt: skip
"""What is told of a sentence and a place, in this order; shares are from 0 to 1."""

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_CONTRACTED = re.compile(r"(?<=\w)n't\b|(?<=can)not\b")
_SCOPES_WORDS = """
all always any each every everyone everything exclusively except fully generally if many may might most mostly
must need never often only required several should some sometimes typically unless usually without
"""
_SCOPES = frozenset(_SCOPES_WORDS.split())
_PAIRS = """
above/below accept/reject add/remove after/before allow/forbid ascending/descending begin/end best/worst better/worse
big/small buy/sell cheap/expensive decline/growth decrease/increase decreased/increased decreases/increases
different/same disable/enable disabled/enabled even/odd exclude/include excluding/including export/import fail/succeed
fall/rise fell/rose first/last former/latter full/empty gain/loss gained/lost greater/less greatest/least grew/shrank
high/low higher/lower highest/lowest input/output inside/outside large/small larger/smaller largest/smallest left/right
less/more lost/won maximum/minimum negative/positive offline/online optional/required pass/fail strong/weak top/bottom
true/false up/down upper/lower with/without
"""
_OPPOSITES: Mapping[str, frozenset[str]] = {
    word: frozenset(
        other for pair in _PAIRS.split() if word in pair.split("/") for other in pair.split("/") if other != word
    )
    for word in _PAIRS.replace("/", " ").split()
}
_MOST_TERMS = 60
"""Of a sentence that are compared; what is longer is no sentence."""


def _is_compared(word: str) -> bool:
    return not is_of_number(word) and not word[0].isdigit()


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A text as it is compared."""

    terms: tuple[str, ...]
    """Stems in their order, without small words and without numbers, which are facts."""
    bag: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    words: tuple[str, ...]
    """All words, casefolded."""
    facts: Facts


def read(analyzer: Analyzer, text: str) -> Reading:
    """Read a text once, for all comparisons."""
    found = [word.casefold() for word in _WORD.findall(_CONTRACTED.sub(" not", text.replace("’", "'")))]
    kept = [word.removesuffix("'s") for word in found if _is_compared(word)]
    terms = tuple(term for term in analyzer.terms(" ".join(kept)) if not term.isdigit())[:_MOST_TERMS]
    return Reading(
        terms=terms,
        bag=frozenset(terms),
        pairs=frozenset(pairwise(terms)),
        words=tuple(part for word in kept for part in _parts(word))[: 2 * _MOST_TERMS],
        facts=read_facts(text),
    )


def _parts(word: str) -> Iterable[str]:
    """Return a word, or the signs of a run of a script that has no blanks between words."""
    return word if unicodedata.east_asian_width(word[0]) == "W" else (word,)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What stands around a place."""

    around: frozenset[str]
    """Terms of the place and its neighbours, of the title and the headings."""
    passage: frozenset[str]
    everywhere: frozenset[str]
    """Of all passages."""
    weights: Mapping[str, float]
    """How much each term tells; what is nowhere tells most."""


def weigh(bags: Iterable[frozenset[str]]) -> dict[str, float]:
    """Return the weights of terms by how few of the places have them."""
    held = list(bags)
    counts: dict[str, int] = {}
    for bag in held:
        for term in bag:
            counts[term] = counts.get(term, 0) + 1
    return {term: math.log(1 + len(held) / (1 + count)) for term, count in counts.items()}


def compare(claim: Reading, place: Reading, near: Surroundings) -> Floats:
    """Return the features of a sentence and a place, in the order of ``FEATURES``."""
    top = math.log(1 + max(len(near.weights), 1))
    weights = {term: near.weights.get(term, top) for term in claim.bag}
    held = claim.bag & place.bag
    common, longest = _common(claim.terms, place.terms)
    words = frozenset(place.words)
    word_pairs = frozenset(pairwise(claim.words))
    return np.array(
        [
            _share(len(held), len(claim.bag)),
            _share(sum(weights[term] for term in held), sum(weights.values())),
            _share(len(claim.bag & near.around), len(claim.bag)),
            _share(len(claim.bag & near.passage), len(claim.bag)),
            math.log1p(len(claim.bag - near.around)),
            math.log1p(len(claim.bag - near.everywhere)),
            _share(common, len(claim.terms)),
            _share(longest, len(claim.terms)),
            _share(len(claim.pairs & place.pairs), len(claim.pairs)),
            _longest_new(claim.terms, near.around) / max(len(claim.terms), 1),
            _share(sum(word in words for word in claim.words), len(claim.words)),
            _share(len(word_pairs & frozenset(pairwise(place.words))), len(word_pairs)),
            _letters(claim.bag - place.bag, place.bag),
            _share(len(held), len(place.bag)),
            _inversions(claim.terms, place.terms),
            _inversions(_named(claim), _named(place)),
            float(("by" in claim.words) != ("by" in words)),
            float(_has_opposite(claim.words, words)),
            math.log1p(len((_SCOPES & frozenset(claim.words)) - words)),
            math.log1p(len(claim.terms)),
            math.log1p(len(claim.facts.names)),
            math.log1p(len(claim.facts.numbers)),
        ]
    )


def _share(part: float, whole: float) -> float:
    """Return a share; all of nothing is there."""
    return part / whole if whole else 1.0


def _common(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """Return the lengths of the longest common subsequence and of the longest common run."""
    before, runs, longest = [0] * (len(other) + 1), [0] * (len(other) + 1), 0
    for term in one:
        now, row = [0], [0]
        for place, each in enumerate(other):
            if term == each:
                now.append(before[place] + 1)
                row.append(runs[place] + 1)
                longest = max(longest, row[-1])
            else:
                now.append(max(before[place + 1], now[place]))
                row.append(0)
        before, runs = now, row
    return before[-1], longest


def _longest_new(terms: Sequence[str], known: frozenset[str]) -> int:
    """Return how many terms in a row are new: an added condition is such a run, other words for something are not."""
    longest = run = 0
    for term in terms:
        run = 0 if term in known else run + 1
        longest = max(longest, run)
    return longest


def _letters(new: frozenset[str], known: frozenset[str]) -> float:
    """Return how like, by their letters, new terms are to known ones, at the mean: *founder* is like *founded*."""
    if not new:
        return 1.0
    return sum(max((_alike(term, each) for each in known), default=0.0) for term in new) / len(new)


def _alike(one: str, other: str) -> float:
    """Return the length of the common beginning over that of the longer word."""
    shared = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        shared += 1
    return shared / max(len(one), len(other))


def _inversions(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of pairs of common terms that stand in the other order."""
    first = {term: place for place, term in reversed(list(enumerate(other)))}
    places = [first[term] for term in dict.fromkeys(one) if term in first]
    pairs = len(places) * (len(places) - 1) / 2
    swapped = sum(places[i] > places[j] for i in range(len(places)) for j in range(i + 1, len(places)))
    return swapped / pairs if pairs else 0.0


def _named(reading: Reading) -> list[str]:
    return [word for word in reading.words if word in reading.facts.names]


def _has_opposite(words: Sequence[str], held: frozenset[str]) -> bool:
    """Tell whether a word is not there, but its opposite is."""
    return any(word not in held and not held.isdisjoint(_OPPOSITES.get(word, ())) for word in words)
