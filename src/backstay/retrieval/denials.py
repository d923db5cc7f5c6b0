"""Owns whether a place denies what a sentence denies, and nothing else of what it says."""

import re
from collections.abc import Sequence

import msgspec

from backstay.retrieval.analysis import Analyzer

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_DENIALS_WORDS = """
no not never none neither nor nobody nothing nowhere without cannot can't won't don't doesn't didn't isn't
aren't wasn't weren't hasn't haven't hadn't shouldn't wouldn't couldn't mustn't nicht kein keine keinen keiner
keinem nie niemals ohne ne pas jamais sans nunca sin ningún non mai senza não nunca sem niet geen nooit zonder
inte aldrig utan не нет никогда без لا لم لن ليس ليست
"""
_DENIALS = frozenset(_DENIALS_WORDS.split())
_CJK = ("不", "没", "沒", "未", "無い", "ない", "않", "없")
_REACH = 4
"""Words before a word in which a denial of it stands."""

_REACH_ON = 2
"""Words after the last that a place has in common with a claim, in which it still denies the claim: *may not be*."""


class Denials(msgspec.Struct, frozen=True, kw_only=True):
    """The words of a text, and which of them deny."""

    stems: tuple[str, ...]
    """One a word; nothing for small words."""
    at: tuple[int, ...]
    """Where denials stand among them."""
    signs: int
    """Of scripts that have no blanks between words."""


def read_denials(analyzer: Analyzer, text: str) -> Denials:
    """Read what a text denies."""
    words = [word.replace("’", "'").casefold() for word in _WORD.findall(text)]
    return Denials(
        stems=tuple("" if word in _DENIALS else next(iter(analyzer.terms(word)), "") for word in words),
        at=tuple(place for place, word in enumerate(words) if word in _DENIALS),
        signs=sum(text.count(sign) for sign in _CJK),
    )


def deny_alike(claim: Denials, place: Denials) -> bool:
    """Tell whether a claim and what a place says of the same have as many denials, and each of the same word.

    What a place denies before or after all that it has in common with the claim is another matter.
    """
    if claim.signs != place.signs and (claim.signs == 0 or place.signs == 0):
        return False
    shared = [n for n, stem in enumerate(place.stems) if stem and stem in claim.stems]
    if not shared:
        return not claim.at
    first, last = shared[0] - _REACH, shared[-1] + _REACH_ON
    touching = [n for n in place.at if first <= n <= last]
    return (
        len(touching) == len(claim.at) and _same(claim, place, claim.at, True) and _same(place, claim, touching, False)
    )


def _same(one: Denials, other: Denials, at: Sequence[int], must_be_there: bool) -> bool:
    """Tell whether the word that is denied at each place is denied by the other too, or perhaps not there at all."""
    for place in at:
        denied = next((stem for stem in one.stems[place + 1 : place + 1 + _REACH] if stem), None)
        if denied is None:  # at the end: *as it says it does not*
            denied = next((stem for stem in reversed(one.stems[max(0, place - _REACH) : place]) if stem), "")
        spots = [n for n, stem in enumerate(other.stems) if stem and stem == denied]
        if not spots and denied and must_be_there:
            return False
        if spots and not any(spot - _REACH <= n <= spot + _REACH_ON for spot in spots for n in other.at):
            return False
    return True
