"""What keeps two questions apart."""

import pytest
from hard_pairs import DEVELOPMENT, HELD_OUT

from backstay.cache.vetoes import read, veto


def _passed(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    both = [*pairs, *((b, a) for a, b in pairs)]
    return [(a, b) for a, b in both if veto(read(a), read(b)) is None]


def test_no_hard_pair_passes() -> None:
    """Of more than 200 pairs of opposites, negations, swaps, names, numbers and dates none may share an answer."""
    assert len(DEVELOPMENT) + len(HELD_OUT) >= 200
    assert _passed(DEVELOPMENT) == []
    assert _passed(HELD_OUT) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I return a parcel?", "How can I return a parcel"),
        ("When will my card arrive?", "when is my card going to arrive??"),
        ("I would like to cancel my order", "Please cancel my order"),
        ("Why hasn't my transfer arrived yet?", "my transfer has not arrived, why"),
        ("When will I receive my card?", "When will I recieve my card?"),
        ("What's the exchange rate for Apple Pay?", "what is the exchange rate for apple pay"),
        ("How do I change the PIN of my card?", "I want to change the PIN of my card"),
    ],
)
def test_other_words_for_the_same_pass(one: str, other: str) -> None:
    """What is said in other words, other case, with a slip of the pen, or shorter, may share an answer."""
    assert veto(read(one), read(other)) is None
    assert veto(read(other), read(one)) is None


def test_any_text_can_be_read() -> None:
    """Nothing that people send makes a reading fail."""
    for text in (
        "",
        "…",
        "🙂🙂",
        "\x00",
        "a" * 100_000,
        "１２３ ＡＢＣ",
        "السلام عليكم",
        "''''",
        "-_-",
        "5km/h @x a.b",
    ):
        assert veto(read(text), read(text)) is None
