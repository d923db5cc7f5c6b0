"""Tests of how documents are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.retrieval.chunking import cut, sentences
from backstay.retrieval.types import Chunking, Strategy

_PARTS = ("word ", "Ab. ", "é!", "\n", "\n\n", "# ", "。", "😀", "```\n", "  ", "x" * 70)
_TEXTS = st.lists(st.sampled_from(_PARTS), max_size=60).map("".join)
_CHUNKINGS = st.builds(
    Chunking,
    strategy=st.sampled_from(["recursive", "fixed", "sentence"]),
    max_chars=st.integers(100, 200),
    overlap_chars=st.integers(0, 50),
)


@settings(deadline=None)
@given(_TEXTS, _CHUNKINGS, st.sampled_from(["text/plain", "text/markdown"]))
def test_chunks_hold_all_that_is_not_blank_and_none_is_too_long(text: str, chunking: Chunking, kind: str) -> None:
    """They are in the document's order, and begin and end with something."""
    pieces = cut(text, chunking, media_type=kind)
    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered
    assert all(0 < piece.end - piece.start <= chunking.max_chars for piece in pieces)
    assert [piece.start for piece in pieces] == sorted({piece.start for piece in pieces})
    assert all(text[piece.start : piece.end].strip() == text[piece.start : piece.end] for piece in pieces)


@pytest.mark.parametrize("strategy", ["recursive", "fixed", "sentence"])
def test_a_run_without_blanks_is_cut_all_the_same(strategy: Strategy) -> None:
    """A line of 300,000 characters hangs nothing and makes chunks within the bound."""
    pieces = cut("x" * 300_000, Chunking(strategy=strategy, max_chars=1000), media_type="text/plain")
    assert [(piece.start, piece.end) for piece in pieces] == [(n, n + 1000) for n in range(0, 300_000, 1000)]


def test_chunks_know_their_headings_and_pages() -> None:
    """A line in a block of code is no heading; what follows a heading of the same level is no more under it."""
    text = "# One\n\nfirst\n\n## Two\n\n```\n# code\n```\n\n## Three\n\nlast"
    pieces = cut(text, Chunking(), media_type="text/markdown", page_starts=[0, 14])
    assert [(piece.heading, piece.page) for piece in pieces] == [("One", 1), ("One > Two", 2), ("One > Three", 2)]
    assert text[pieces[1].start : pieces[1].end] == "## Two\n\n```\n# code\n```"


def test_sentences_end_at_their_marks() -> None:
    """Also in scripts that have no blank after it."""
    text = "One is here. Two, at 3.5 %! 三在这里。四？"
    assert [text[start:end] for start, end in sentences(text)] == [
        "One is here.",
        "Two, at 3.5 %!",
        "三在这里。",
        "四？",
    ]
