"""Owns how what was said before weighs in a search: earlier questions count beside the last one, less and less."""

from collections.abc import Sequence

from backstay.retrieval.types import Turn

_SHARE = 0.3
"""Of each question, beside the one after it. On the 179 conversations of mtrag that have passages, nDCG@10 is 0.939; by
the last question alone 0.913. How it was measured: ``docs/decisions/0036-collections-on-the-wires.md``."""
_LEAST = 0.02


def earlier_questions(messages: Sequence[Turn]) -> list[tuple[str, float]]:
    """Return the user's questions before the last one, the latest first, each with its weight beside that."""
    found: list[tuple[str, float]] = []
    weight = _SHARE
    for turn in reversed(messages):
        if turn.role == "user" and turn.content.strip():
            found.append((turn.content, weight))
            weight *= _SHARE
            if weight < _LEAST:
                break
    return found
