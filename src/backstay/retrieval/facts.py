"""Owns what of a sentence must be the same to the letter in what supports it: numbers, their units, dates, names."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

_NUMBER = re.compile(r"\d+(?:[.,’' \u00a0\u202f]\d{3}(?!\d))*(?:[.,]\d+)?")
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_][\w'’]*")
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
_UNIT_WORDS = """
% percent prozent pct|percentage-points pp|basis-points bps
$ usd dollar dollars|€ eur euro euros|£ gbp pound pounds|¥ yen
second seconds sec secs sekunde sekunden|minute minutes min mins minuten|hour hours hr hrs h stunde stunden
day days tag tage tagen|week weeks woche wochen|month months monat monate monaten|quarter quarters quartal
year years yr yrs jahr jahre jahren|decade decades|century centuries|ms millisecond milliseconds
mm millimeter millimeters|cm centimeter centimeters|m meter meters metre metres
km kilometer kilometers kilometre kilometres
mile miles|foot feet ft|inch inches|yard yards|mg milligram milligrams|g gram grams
kg kilogram kilograms|ton tons tonnes
kb kilobyte kilobytes|mb megabyte megabytes|gb gigabyte gigabytes|tb terabyte terabytes|byte bytes|bit bits
hz hertz|mhz|ghz|watt watts w|kw kilowatt kilowatts|mw megawatt megawatts|kwh|liter liters litre litres l|ml
acre acres|hectare hectares|celsius|fahrenheit|degree degrees|people persons|times mal|point points
"""
_UNITS: Mapping[str, str] = {
    word: words.split()[0] for words in re.split(r"[|\n]", _UNIT_WORDS.strip()) for word in words.split()
}
_LEFT_OUT = frozenset(("$", "€", "£", "¥", "year", "people", "point"))
"""Units that a number often lacks where it stands: amounts in tables, ages, scores."""
_CURRENCY = re.compile(r"[$€£¥]\s?$")
_AFTER = re.compile(r"[\s\u00a0-]{0,3}(percentage points|basis points|[^\W\d_]+|[%€£¥])")
_PLURAL = re.compile(r"[^\W\d_]{3,}s")
_CALENDAR_WORDS = """
january february march april may june july august september october november december monday tuesday wednesday
thursday friday saturday sunday januar februar märz mai juni juli oktober dezember montag dienstag mittwoch
donnerstag freitag samstag sonntag
"""
_CALENDAR = frozenset(_CALENDAR_WORDS.split())
_AMBIGUOUS = frozenset(("may", "march"))
"""Months that are also words with which sentences begin."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a text."""

    numbers: tuple[str, ...]
    """In one notation: no separators of thousands, no zeros at the end, scales such as `million` multiplied out."""
    units: frozenset[tuple[str, str]]
    """Numbers with the units that are known to be theirs, each by one name."""
    counted: frozenset[tuple[str, str]]
    """Numbers with the plural that follows them, which is no known unit."""
    names: frozenset[str]
    """Words with a capital within a sentence, and months, casefolded; of scripts without capitals there are none."""
    opening: str | None
    """The first word, casefolded, where its capital does not say whether it is a name; ``None``: it is no subject."""
    words: frozenset[str]
    """All words, casefolded, in which a name may be found."""


def read_facts(text: str) -> Facts:
    """Read a text's numbers, units and names."""
    found = [word.replace("’", "'") for word in _WORD.findall(text)]
    low = [_bare(word) for word in found]
    counted = list(_numbers(text))
    found_units = frozenset((number, _UNITS[unit]) for number, unit in counted if unit in _UNITS)
    return Facts(
        numbers=(*(number for number, _ in counted), *(str(_SPELLED[word]) for word in low if _is_count(word))),
        units=found_units,
        counted=frozenset(each for each in counted if each[1] not in _UNITS and _PLURAL.fullmatch(each[1])),
        names=frozenset(_names(text)),
        opening=_opening(text),
        words=frozenset(low),
    )


def is_of_number(word: str) -> bool:
    """Tell whether a word, casefolded, scales a number or is its unit: a fact, and none of the words to be compared."""
    return word in _SCALES or word in _UNITS or word in _SPELLED


def together(one: Facts, other: Facts) -> Facts:
    """Return the facts of two texts that are held as one."""
    return msgspec.structs.replace(
        one, numbers=one.numbers + other.numbers, units=one.units | other.units, names=one.names | other.names,
        words=one.words | other.words,
    )  # fmt: skip


def agree(claim: Facts, place: Facts) -> bool:
    """Tell whether a place has each number of a claim, as often, in the same unit, and each of its names."""
    if Counter(claim.numbers) - Counter(place.numbers) or not claim.names <= place.words:
        return False
    held: dict[str, set[str]] = {}
    for number, unit in place.units:
        held.setdefault(number, set()).add(unit)
    if any(number in held and word not in place.words for number, word in claim.counted):
        return False
    return all(unit in held.get(number, {unit} & _LEFT_OUT) for number, unit in claim.units)


def _bare(word: str) -> str:
    return word.replace("’", "'").removesuffix("'s").removesuffix("'").casefold()


def _is_count(word: str) -> bool:
    return word in _SPELLED and word != "one"


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    """Return each number in one notation, and the word or sign of its unit, or whatever follows it."""
    text = _ORDINAL.sub("", text)
    for match in _NUMBER.finditer(text):
        before, after = _CURRENCY.search(text[: match.start()]), _AFTER.match(text, match.end())
        power = _SCALES.get(after[1].casefold(), 0) if after else 0
        if after and power:
            after = _AFTER.match(text, after.end())
        unit = before[0].strip() if before else after[1].casefold().replace(" ", "-") if after else ""
        yield _plain(match[0], power), unit


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
        if len(word) < 2 or not word[0].isupper():
            continue
        begins = _begins(text, match.start())
        low = word.casefold()
        is_date = low in _CALENDAR and (low not in _AMBIGUOUS or bool(re.match(r"\s+\d", text[match.end() :])))
        if not begins or is_date or any(letter.isupper() for letter in word[1:]):
            yield low


def _begins(text: str, place: int) -> bool:
    """Tell whether a sentence begins there, so that a capital says nothing."""
    before = text[:place].rstrip("\"'“”‘’([ \t\n")
    return not before or before[-1] in ".!?:…\n•*#"


def _opening(text: str) -> str | None:
    """Return the first word where it may be a name: with a capital, and no word before a comma such as *However*."""
    match = _WORD.search(text)
    if match is None or not match[0][0].isupper() or text[match.end() : match.end() + 1] in (",", ":"):
        return None
    return _bare(match[0])
