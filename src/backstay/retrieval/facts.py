"""Owns what of a sentence must be the same to the letter in what supports it: numbers, names, negation."""

import re
from collections.abc import Iterator

import msgspec

_NUMBER = re.compile(r"\d+(?:[.,’' \u00a0\u202f]\d{3}(?!\d))*(?:[.,]\d+)?")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_SCALES = {"thousand": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12, "tausend": 3, "millionen": 6,
           "milliarde": 9, "milliarden": 9}  # fmt: skip
_SPELLED = {
    word: number
    for number, words in enumerate(
        ["zero null", "one eins", "two zwei", "three drei", "four vier", "five fünf", "six sechs", "seven sieben",
         "eight acht", "nine neun", "ten zehn", "eleven elf", "twelve zwölf"]
    )
    for word in words.split()
}  # fmt: skip
_DENIALS = (
    "no not never none neither nor nobody nothing without cannot can't won't don't doesn't didn't isn't aren't wasn't "
    "weren't hasn't haven't hadn't shouldn't wouldn't couldn't nicht kein keine keinen keiner nie niemals ohne ne pas "
    "jamais sans nunca sin ningún non mai senza não nunca sem niet geen nooit zonder inte aldrig utan не нет никогда "
    "без لا لم لن ليس ليست"
)
_NEGATIONS = frozenset(_DENIALS.split())
_CJK_NEGATIONS = ("不", "没", "沒", "未", "無い", "ない", "않", "없")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a text."""

    numbers: frozenset[str]
    """In one notation: no separators of thousands, no zeros at the end, scales such as `million` multiplied out."""
    names: frozenset[str]
    """Words with a capital within a sentence, casefolded; of scripts without capitals there are none."""
    negated: bool


def read_facts(text: str) -> Facts:
    """Read a text's numbers, names and whether it denies something."""
    words = [word.replace("’", "'") for word in _WORD.findall(text)]
    low = [word.casefold() for word in words]
    return Facts(
        numbers=frozenset(
            [*_numbers(text), *(str(_SPELLED[word]) for word in low if word in _SPELLED and word != "one")]
        ),
        names=frozenset(_names(text)),
        negated=sum(word in _NEGATIONS for word in low) % 2 == 1 or any(sign in text for sign in _CJK_NEGATIONS),
    )


def _numbers(text: str) -> Iterator[str]:
    text = _ORDINAL.sub("", text)
    for match in _NUMBER.finditer(text):
        following = _WORD.match(text, match.end() + (text[match.end() : match.end() + 1] in " -\u00a0"))
        power = _SCALES.get(following[0].casefold(), 0) if following else 0
        yield _plain(match[0], power)


def _plain(digits: str, power: int) -> str:
    """Write a number in one notation; what could be both is taken for a separator of thousands."""
    decimal = re.search(r"[.,](\d+)$", digits)
    is_fraction = decimal is not None and (len(decimal[1]) != 3 or (digits[0] == "0" and len(digits) == 5))
    whole = digits[: decimal.start()] if decimal and is_fraction else digits
    fraction = decimal[1] if decimal and is_fraction else ""
    whole = re.sub(r"\D", "", whole)
    fraction = fraction.ljust(power, "0")
    whole, fraction = whole + fraction[:power], fraction[power:].rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def _names(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        word = match[0].removesuffix("'s").removesuffix("’s")
        before = text[: match.start()].rstrip("\"'“”‘’([ \t\n")
        begins = not before or before[-1] in ".!?:;…\n•*#"
        if len(word) > 1 and word[0].isupper() and (not begins or any(letter.isupper() for letter in word[1:])):
            yield word.casefold()
