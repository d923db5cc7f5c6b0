"""Owns how an attempt is told to people: why it was made, why it ended, and where it went on from another. Pure."""

from collections.abc import Sequence

import msgspec

from backstay.tracing import StoredSpan

_MADE = {
    "fallback": "made because the target before it failed",
    "retry": "the same target again, after a pause",
    "continue": "goes on where the stream before it broke",
    "restart": "answers anew after the stream before it broke",
    "degraded": "stands in, as no target of the model answered",
}
_SHOWS = {
    "unreachable": "no answer in time, or the connection broke",
    "overloaded": "it has too much to do",
    "limited": "its rate limit is used up",
    "callers": "no fault of the target’s",
}

STAND_INS = {
    "target": "answered by a stand-in, as no target of the model did",
    "message": "answered with the route’s fixed message, as no target did",
    "cache_stale": "answered from an old answer, as no target did",
}
"""What a degraded answer is."""


class Seam(msgspec.Struct, frozen=True, kw_only=True):
    """Where in the answer's text another attempt went on, in characters."""

    at: int
    target: str
    is_restart: bool


def notes(span: StoredSpan) -> list[str]:
    """Say what is worth a word of an attempt; nothing of the first one that went well."""
    known = span.attributes
    seam, malformed = known.get("backstay.attempt.seam"), known.get("backstay.malformed_events")
    words = [_MADE.get(str(known.get("backstay.attempt.reason", "")), "")]
    if seam is not None:
        words.append(f"the caller had seen {seam:,} characters")
    if malformed:
        words.append(f"{malformed:,} malformed event{'s' if malformed != 1 else ''} left out")
    if span.status == "cancelled":
        words.append("ended because the caller went away")
    elif span.status == "error":
        words.append(_SHOWS.get(str(known.get("backstay.attempt.outcome", "")), ""))
    return [word for word in words if word]


def seams(attempts: Sequence[StoredSpan]) -> list[Seam]:
    """Find where the answer of a call went on in another attempt that said something, in order."""
    found: list[Seam] = []
    for span in attempts:
        at = span.attributes.get("backstay.attempt.seam")
        if not isinstance(at, int) or span.first_token_ns is None:
            continue
        is_restart = span.attributes.get("backstay.attempt.reason") == "restart"
        found.append(Seam(at=at, target=span.target or span.name, is_restart=is_restart))
    return found


def cut(text: str, places: Sequence[Seam]) -> list[tuple[str, Seam | None]]:
    """Cut a text at its seams: each piece with the seam that it begins at, ``None`` for the first."""
    pieces: list[tuple[str, Seam | None]] = []
    begun, before = 0, None
    for seam in places:
        if begun <= seam.at <= len(text):
            pieces.append((text[begun : seam.at], before))
            begun, before = seam.at, seam
    return [*pieces, (text[begun:], before)]
