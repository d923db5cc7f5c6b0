"""Owns how text becomes terms: words cut, folded and stemmed by language, CJK as pairs, identifiers as their parts."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import Stemmer

from backstay.retrieval.languages import LANGUAGES, SCRIPTS, Language

VERSION = 1
"""Of the terms that this makes: an index with terms of another version is built anew."""

_STEMS_KEPT = 200_000
_LONGEST_TERM = 64
"""Characters; what is longer is a hash, a key or a picture, and kept by its beginning."""

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_CJK}]+|(?:(?![{_CJK}])[\w\u0300-\u036f\u064b-\u065f])+")
_IS_CJK = re.compile(rf"[{_CJK}]")
_RUNS = re.compile(r"[^\W\d_]+|\d+")
_HUMPS = re.compile(r"[A-Z]+(?![^A-Z])|[A-Z]?[^A-Z]+")
_MARKS = re.compile(r"[\u064b-\u065f\u0670\u0640]")
"""Arabic vowel marks and the stretching stroke, which are written or not."""


class Analyzer:
    """Turns texts of one language into terms. Documents and queries go through the same one."""

    def __init__(self, language: str):
        """Make one.

        Args:
            language: A key of ``LANGUAGES``; of texts in another script than its own, the script decides. A collection
                without documents yet has ``auto``, which is none.
        """
        self._language = LANGUAGES["none" if language == "auto" else language]
        self._stem = lru_cache(_STEMS_KEPT)(self._stem_anew)
        self._stemmers: dict[str, Callable[[str], str]] = {}

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text in their order."""
        found: list[str] = []
        for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
            if _IS_CJK.match(word):
                found += _pairs(word)
            else:
                found += self._stem(word[:_LONGEST_TERM])
        return found

    def _stem_anew(self, word: str) -> Sequence[str]:
        """Return a word's terms: none where it says nothing, its parts beside it where it is an identifier."""
        whole = self._fold(word)
        parts = [part for run in _RUNS.findall(word) for part in _HUMPS.findall(run)]
        if len(parts) < 2:
            return (whole,) if whole else ()
        return tuple(term for term in dict.fromkeys([whole, *map(self._fold, parts)]) if term)

    def _fold(self, word: str) -> str:
        low = _MARKS.sub("", word.casefold()).strip("_")
        language = self._of_script(low)
        if not low or low in language.stop_words:
            return ""
        return self._stemmer(language)(low)

    def _of_script(self, word: str) -> Language:
        script = unicodedata.name(word[0], "").partition(" ")[0] if word else ""
        return self._language if script == self._language.script else LANGUAGES[SCRIPTS.get(script, "none")]

    def _stemmer(self, language: Language) -> Callable[[str], str]:
        if language.stemmer is None:
            return str
        if language.stemmer not in self._stemmers:
            library: Any = Stemmer
            self._stemmers[language.stemmer] = library.Stemmer(language.stemmer).stemWord
        return self._stemmers[language.stemmer]


def detect(texts: Sequence[str]) -> str:
    """Guess the language of texts by their most common small words, else by their script; ``none`` if neither says."""
    words = [word.casefold() for text in texts for word in _WORD.findall(text[:4000])]
    counts = {name: sum(map(language.stop_words.__contains__, words)) for name, language in LANGUAGES.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] >= max(3, len(words) // 50) else "none"


def _pairs(run: str) -> Iterator[str]:
    """Return each two neighbours of a run without blanks; a run of one is itself."""
    return iter((run,)) if len(run) == 1 else (run[i : i + 2] for i in range(len(run) - 1))
