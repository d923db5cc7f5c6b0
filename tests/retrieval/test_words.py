"""Tests of terms, and of the index of words."""

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.retrieval.analysis import Analyzer, detect
from backstay.retrieval.lexical import K1, B, LexicalIndex, Words


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("en", "How many defenses did the Panthers have?", ["mani", "defens", "panther"]),
        ("en", "getUserName2 in http_client.py", ["getusername2", "get", "user", "name", "2", "http_client", "http",
                                                  "client", "py"]),
        ("de", "Die Häuser der Universität", ["haus", "universitat"]),
        ("zh", "豹队的防守", ["豹队", "队的", "的防", "防守"]),
        ("en", "日本語テキスト", ["日本", "本語", "語テ", "テキ", "キス", "スト"]),
        ("ar", "الكتابُ", Analyzer("ar").terms("الكتاب")),
        ("none", "Plain Words", ["plain", "word"]),
        ("en", "ﬁve", ["five"]),
        ("en", "", []),
    ],
)  # fmt: skip
def test_text_becomes_the_terms_of_its_language(language: str, text: str, terms: list[str]) -> None:
    """Words are folded and stemmed, small words left out, identifiers cut, and CJK text is cut into pairs."""
    assert Analyzer(language).terms(text) == terms


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sat on the mat, and it was not the first that did so.", "en"),
        ("Die Katze saß auf der Matte, und sie war nicht die erste.", "de"),
        ("القطة التي كانت على السجادة هي من هذا البيت في المدينة", "ar"),
        ("fn main() { println!(x); }", "none"),
    ],
)
def test_a_language_is_told_by_its_small_words(text: str, language: str) -> None:
    """Without enough of them it stays open."""
    assert detect([text]) == language


_TERMS = st.lists(st.sampled_from("abcdef"), max_size=8)
_CHUNKS = st.lists(st.tuples(_TERMS, st.sampled_from([None, "ada", "bob"])), min_size=1, max_size=12)


def _bm25(chunks: Sequence[Sequence[str]], query: Sequence[str]) -> list[float]:
    """BM25 by its definition, one chunk and one term at a time."""
    mean = sum(map(len, chunks)) / len(chunks)
    scores: list[float] = []
    for chunk in chunks:
        counts, score = Counter(chunk), 0.0
        for term in query:
            df = sum(term in each for each in chunks)
            idf = math.log(1 + (len(chunks) - df + 0.5) / (df + 0.5))
            tf = counts[term]
            score += idf * tf / (tf + K1 * (1 - B + B * len(chunk) / mean)) if tf else 0.0
        scores.append(score)
    return scores


@settings(deadline=None)
@given(_CHUNKS, _TERMS, st.sampled_from([(), ("ada",), ("ada", "bob")]))
def test_scores_are_bm25_of_what_may_be_read(
    chunks: list[tuple[list[str], str | None]], query: list[str], principals: tuple[str, ...]
) -> None:
    """What may not be read changes no score, as if it were not there."""
    index = LexicalIndex()
    index.update([_words(number, *chunk) for number, chunk in enumerate(chunks)], [])
    readable = {n: terms for n, (terms, owner) in enumerate(chunks) if owner is None or owner in principals}
    scores = index.scores(query, principals)
    expected = _bm25(list(readable.values()), query) if any(readable.values()) else [0.0] * len(readable)
    assert scores.of(list(readable)).tolist() == pytest.approx(expected, abs=1e-5)
    assert set(scores.best(100)) <= set(readable)


@settings(deadline=None)
@given(_CHUNKS, st.lists(st.tuples(st.integers(0, 11), st.none() | _TERMS), max_size=12), _TERMS)
def test_an_index_that_follows_changes_is_as_one_built_anew(
    chunks: list[tuple[list[str], str | None]], changes: list[tuple[int, list[str] | None]], query: list[str]
) -> None:
    """Chunks that come again take the place of their older selves; those that are gone are as if never there."""
    index = LexicalIndex()
    index.update([_words(number, *chunk) for number, chunk in enumerate(chunks)], [])
    now = {number: terms for number, (terms, _) in enumerate(chunks)}
    for number, terms in changes:
        index.update([] if terms is None else [_words(number, terms, None)], [number] if terms is None else [])
        now.pop(number, None)
        if terms is not None:
            now[number] = terms
    anew = LexicalIndex()
    anew.update([_words(number, terms, None) for number, terms in now.items()], [])
    everybody = ("ada", "bob")
    assert index.size == anew.size == len(now)
    assert index.scores(query, everybody).of(list(now)).tolist() == pytest.approx(
        anew.scores(query, everybody).of(list(now)).tolist(), abs=1e-5
    )


def test_small_parts_become_one_with_nothing_lost() -> None:
    """An index of many updates scores as one of a single update."""
    index, whole = LexicalIndex(), LexicalIndex()
    chunks = [_words(number, [f"t{number % 7}", f"t{number % 5}", "all"], None) for number in range(2500)]
    for start in range(0, len(chunks), 300):
        index.update(chunks[start : start + 300], [])
    whole.update(chunks, [])
    assert index.scores(["t3", "all"], ()).best(2500) == whole.scores(["t3", "all"], ()).best(2500)


def _words(number: int, terms: Sequence[str], owner: str | None) -> Words:
    return Words(chunk_id=number, terms=terms, principals=None if owner is None else frozenset({owner}))
