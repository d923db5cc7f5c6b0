"""Owns the measures of found passages against the places in documents that answer a question, in characters."""

from collections.abc import Sequence

import msgspec

Span = tuple[int, int]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a document, in characters of its text."""

    document: str
    start: int
    end: int


def measure(found: Sequence[Place], wanted: Sequence[Place]) -> dict[str, float]:
    """Return recall, precision and the intersection over the union of what was found with what was wanted.

    What is found twice was read twice: it counts once in what was met, and twice in what it took. Source: B. Smith and
    A. Troynikov, "Evaluating chunking strategies for retrieval", Chroma technical report (2024), sections on metrics.

    Raises:
        ValueError: Nothing was wanted.
    """
    asked, had = _by_document(wanted), _by_document(found)
    length = sum(end - start for spans in asked.values() for start, end in spans)
    if not length:
        raise ValueError("A question needs a place that answers it.")
    read = sum(place.end - place.start for place in found)
    met = sum(_common(spans, had.get(document, [])) for document, spans in asked.items())
    return {
        "recall": met / length,
        "precision": met / read if read else 0.0,
        "iou": met / (read + length - met),
    }


def _by_document(places: Sequence[Place]) -> dict[str, list[Span]]:
    """Return each document's spans in their order, those that touch made one."""
    merged: dict[str, list[Span]] = {}
    for place in sorted(places, key=lambda place: (place.document, place.start)):
        spans = merged.setdefault(place.document, [])
        if spans and place.start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], place.end))
        else:
            spans.append((place.start, place.end))
    return merged


def _common(some: Sequence[Span], others: Sequence[Span]) -> int:
    """Return how many characters are in both."""
    return sum(max(0, min(end, stop) - max(start, begin)) for start, end in some for begin, stop in others)
