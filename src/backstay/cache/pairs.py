"""Owns the pairs of questions that use itself labels: which there are, and when two answers say the same."""

import datetime as dt
from typing import Literal

import msgspec

from backstay.cache.vetoes import read, veto
from backstay.core.chat import ChatResponse, Text

Source = Literal["shadow", "correction"]
"""``shadow``: the model was asked too, and the answers were compared. ``correction``: somebody said it was wrong."""

_ALIKE, _UNLIKE = 0.8, 0.6
"""Cosines of two answers from which on, and below which, they count as the same and as different."""
_SHORT_WORDS = 30
"""Of answers up to this length any difference that the vetoes know is one of meaning."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A kept question, one that had its answer, and whether it should have had."""

    id: str
    model: str
    feature: str | None
    kept: str
    asked: str
    same: bool | None
    """``None``: it could not be told."""
    source: Source
    similarity: float | None
    """Cosine of the two answers; ``None`` where none were compared."""
    trace_id: str
    """Of the hit."""
    created_at: dt.datetime


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that somebody says was wrong."""

    trace_id: str
    """Of the call that had it."""
    origin_id: str
    """The trace of the call that the model answered: the same one, or that of a kept answer."""
    model: str
    feature: str | None = None
    kept: str | None = None
    """Of a semantic hit: the question that the answer was given to, and the one that it was given again to."""
    asked: str | None = None


def text_of(response: ChatResponse) -> str | None:
    """Return what an answer says; ``None`` where it is not one text alone, and cannot be compared."""
    if len(response.choices) != 1 or not response.choices[0].parts:
        return None
    parts = response.choices[0].parts
    texts = [part.text for part in parts if isinstance(part, Text)]
    return "".join(texts) if len(texts) == len(parts) else None


def say_the_same(one: str, other: str, cosine: float) -> bool | None:
    """Say whether two answers agree, by the cosine of their embeddings and the vetoes of the verifier.

    Same: near, and nothing forbids it. Different: far, or both short and forbidden. ``None``: anything between, which
    is left to people; calibration leaves it out.

    What this cannot see: an embedding reads the first 256 tokens or so, and does not tell a right answer from a wrong
    one on the same subject; of two long answers that differ in a detail alone, one is not called different. A model
    that answers one question in two ways makes right hits look wrong. So it is evidence, not truth: label by hand what
    matters, and let people's corrections weigh in.
    """
    if one == other:
        return True
    if cosine < _UNLIKE:
        return False
    mine, theirs = read(one), read(other)
    is_forbidden = veto(mine, theirs) is not None
    if is_forbidden and max(len(mine.words), len(theirs.words)) <= _SHORT_WORDS:
        return False
    return True if cosine >= _ALIKE and not is_forbidden else None
