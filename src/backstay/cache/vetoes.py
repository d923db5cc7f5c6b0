"""Owns what forbids two questions to share an answer, however near their embeddings are: differences that change it.

No threshold on a cosine tells a question from its opposite, so a hit needs to pass all of these. They err on one side:
a question that is kept apart for nothing costs one call.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

import msgspec

from backstay.cache.words import (
    ASKING,
    DATES,
    LANGUAGES,
    LITTLE,
    NEGATORS,
    NUMBER_WORDS,
    OPPOSING_PREFIXES,
    OPPOSITES,
    UNITS,
)

_TOKEN = re.compile(r"[^\W_]+(?:[-._'/:@][^\W_]+|_[^\W_]+)*|%")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_SENTENCE = re.compile(r"(?:^|[.!?¿¡:]\s+|\n\s*)[\"'(¿¡]*")
_SHORT_FORMS = (
    (re.compile(r"\b(ca|wo|sha)n't\b"), r"\1n not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(dont|cant|wont|doesnt|didnt|isnt|havent|hasnt|wasnt|couldnt|arent)\b"), r"\1 not"),
)
_SMALL = 2
"""So many words of weight on either side may not be all that differs."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the vetoes look at in one question."""

    words: tuple[str, ...]
    """In lower case, short forms opened, in their order."""
    content: tuple[str, ...]
    """Stems of the words that carry weight, in their order."""
    numbers: tuple[str, ...]
    units: frozenset[str]
    dates: frozenset[str]
    names: frozenset[str]
    """Capitalised inside a sentence, or written as no plain word is."""
    negations: int
    asking: frozenset[str]
    script: str
    language: str | None


def read(text: str) -> Reading:
    """Read a question."""
    plain = unicodedata.normalize("NFKC", text).replace("’", "'")
    lower = plain.casefold()
    for pattern, opened in _SHORT_FORMS:
        lower = pattern.sub(opened, lower)
    words = tuple(_TOKEN.findall(lower))
    numbers = [number for word in words for number in _NUMBER.findall(word)]
    numbers += [word for word in words if word in NUMBER_WORDS]
    units = frozenset(word for word in _spelled(words) if word in UNITS)
    return Reading(
        words=words,
        content=tuple(_stem(word) for word in words if word not in LITTLE and word not in NEGATORS),
        numbers=tuple(sorted(numbers)),
        units=units,
        dates=frozenset(words) & DATES,
        names=_names(plain),
        negations=sum(word in NEGATORS for word in words),
        asking=frozenset(words) & ASKING,
        script=_script(plain),
        language=_language(words),
    )


def veto(one: Reading, other: Reading) -> str | None:
    """Return why two questions may not share an answer, in a word; ``None`` where nothing forbids it."""
    for reason, forbids in _VETOES.items():
        if forbids(one, other):
            return reason
    return None


def _spelled(words: tuple[str, ...]) -> list[str]:
    """Return the words, and the unit of a number that is written together with it: ``5km``."""
    return [*words, *(match[1] for word in words if (match := re.fullmatch(r"[\d.,]+([a-z%]+)", word)))]


def _stem(word: str) -> str:
    """Cut what a word's number and tense add to it. Crude, and the same for both questions."""
    word = word.removesuffix("'s").rstrip("'")
    for ending in ("ing", "ies", "ied", "es", "ed", "s", "e", "y"):
        if len(word) - len(ending) >= 3 and word.endswith(ending) and not word.endswith("ss"):
            return word[: -len(ending)]
    return word


def _names(text: str) -> frozenset[str]:
    starts = {match.end() for match in _SENTENCE.finditer(text)}
    found: set[str] = set()
    for match in _TOKEN.finditer(text):
        word = match[0]
        is_capital = (
            word[0].isupper() and match.start() not in starts and word not in ("I", "I'm", "I've", "I'd", "I'll")
        )
        is_odd = any(mark in word for mark in "_@/.") or (not word[0].isdigit() and any(c.isdigit() for c in word))
        if is_capital or is_odd or any(c.isupper() for c in word[1:]):
            found.add(word.casefold().removesuffix("'s"))
    return frozenset(found)


def _script(text: str) -> str:
    if text.isascii():
        return "LATIN"
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    return scripts.most_common(1)[0][0] if scripts else ""


def _language(words: tuple[str, ...]) -> str | None:
    counts = sorted(((len(known.intersection(words)), name) for name, known in LANGUAGES.items()), reverse=True)
    (most, name), (second, _) = counts[:2]
    return name if most > second else None


def _other_language(one: Reading, other: Reading) -> bool:
    if one.script != other.script:
        return True
    return one.language is not None and other.language is not None and one.language != other.language


def _other_numbers(one: Reading, other: Reading) -> bool:
    return one.numbers != other.numbers or ((one.units != other.units) and bool(one.numbers))


def _other_dates(one: Reading, other: Reading) -> bool:
    return one.dates != other.dates


def _other_names(one: Reading, other: Reading) -> bool:
    """A name of one must be in the other, in whatever case it is written there."""
    return not (one.names <= _all_words(other) and other.names <= _all_words(one))


def _all_words(reading: Reading) -> frozenset[str]:
    return frozenset(word.removesuffix("'s") for word in reading.words)


def _negated(one: Reading, other: Reading) -> bool:
    """One says no where the other does not, by a word or by the beginning of one."""
    if one.negations % 2 != other.negations % 2:
        return True
    mine, theirs = frozenset(one.words) - frozenset(other.words), frozenset(other.words) - frozenset(one.words)
    return any(prefix + word in theirs for prefix in OPPOSING_PREFIXES for word in mine) or any(
        prefix + word in mine for prefix in OPPOSING_PREFIXES for word in theirs
    )


def _opposite(one: Reading, other: Reading) -> bool:
    mine, theirs = frozenset(one.words) - frozenset(other.words), frozenset(other.words) - frozenset(one.words)
    return any((mine & a and theirs & b) or (mine & b and theirs & a) for a, b in OPPOSITES)


def _swapped(one: Reading, other: Reading) -> bool:
    """The same words of weight in another order."""
    return one.content != other.content and Counter(one.content) == Counter(other.content)


def _asks_else(one: Reading, other: Reading) -> bool:
    """The same words of weight, and another question about them."""
    same = frozenset(one.content) == frozenset(other.content)
    return same and bool(one.asking and other.asking) and not one.asking & other.asking


def _differs_in_little(one: Reading, other: Reading) -> bool:
    """Nearly the same words, one or two others in their place: the meaning changes, and no list need know how."""
    mine, theirs = Counter(one.content) - Counter(other.content), Counter(other.content) - Counter(one.content)
    common = sum((Counter(one.content) & Counter(other.content)).values())
    most = min(_SMALL, common)
    if not mine or not theirs or mine.total() > most or theirs.total() > most:
        return False
    return not all(_is_misspelt(word, theirs) for word in mine)


def _is_misspelt(word: str, others: Counter[str]) -> bool:
    """Whether a longer word is there with a letter more, less or two changed about."""
    return len(word) >= 5 and any(sorted(word) == sorted(each) or _one_letter(word, each) for each in others)


def _one_letter(one: str, other: str) -> bool:
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return len(longer) == len(shorter) + 1 and any(
        longer[:place] + longer[place + 1 :] == shorter for place in range(1, len(longer))
    )


_VETOES: dict[str, Callable[[Reading, Reading], bool]] = {
    "language": _other_language,
    "number": _other_numbers,
    "date": _other_dates,
    "name": _other_names,
    "negation": _negated,
    "opposite": _opposite,
    "order": _swapped,
    "question": _asks_else,
    "word": _differs_in_little,
}
