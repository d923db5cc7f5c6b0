"""Tests of how documents are cut."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.core.errors import InvalidRequest
from backstay.retrieval.chunking import Section, cut, put_together, sections, sentences
from backstay.retrieval.collections import check_chunking
from backstay.retrieval.media_types import CODE, media_type_of
from backstay.retrieval.semantic import most_unlike
from backstay.retrieval.tokens import token_ends
from backstay.retrieval.types import Chunking, Piece, Strategy

STRATEGIES: tuple[Strategy, ...] = ("recursive", "sentence", "fixed", "tokens", "semantic", "code")
pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")

_PARTS = (
    "word ", "Ab. ", "é!", "\n", "\n\n", "# ", "。", "😀", "```\n", "  ", "x" * 70, "漢字", "שלום ", "مرحبا؟ ",
    "| a | b |\n|---|---|\n| 1 | 2 |\n", "def f(a):\n    return 1\n", "class A:\n", "    x = 'é'\n", "\ud800", "\x00",
)  # fmt: skip
_TEXTS = st.lists(st.sampled_from(_PARTS), max_size=60).map("".join)
_CHUNKINGS = st.builds(
    Chunking,
    strategy=st.sampled_from(STRATEGIES),
    max_chars=st.integers(100, 200),
    overlap_chars=st.integers(0, 50),
    max_tokens=st.integers(16, 60),
    parent_chars=st.none() | st.integers(250, 600),
)
_KINDS = st.sampled_from(["text/plain", "text/markdown", "text/x-python", "text/x-c++"])

TABLE = "| year | boats |\n|---|---|\n"
ROWS = "".join(f"| {year} | {year % 37} |\n" for year in range(1990, 2020))


def _cut(text: str, chunking: Chunking, kind: str) -> list[Piece]:
    """Cut; by meaning with a likeness that is as good as any."""
    if chunking.strategy != "semantic":
        return cut(text, chunking, media_type=kind)
    drawn = sections(text, chunking, kind)
    likeness = [[((7 * n) % 11) / 11 for n in range(len(each.parts) - 1)] for each in drawn]
    return put_together(text, drawn, chunking, likeness=likeness)


@settings(deadline=None)
@given(_TEXTS, _CHUNKINGS, _KINDS)
def test_chunks_hold_all_that_is_not_blank_and_none_is_too_long(text: str, chunking: Chunking, kind: str) -> None:
    """They are in the document's order, begin and end with something, and lie within their parents."""
    pieces = _cut(text, chunking, kind)
    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered
    assert all(piece.end - piece.start > 0 for piece in pieces)
    if chunking.strategy != "tokens":
        assert all(piece.end - piece.start <= chunking.max_chars for piece in pieces)
    assert [piece.start for piece in pieces] == sorted({piece.start for piece in pieces})
    assert all(text[piece.start : piece.end].strip() == text[piece.start : piece.end] for piece in pieces)
    for piece in pieces:
        assert (piece.parent is None) == (chunking.parent_chars is None)
        if piece.parent is not None and chunking.parent_chars is not None:
            assert piece.parent[0] <= piece.start < piece.end <= piece.parent[1]
            assert piece.parent[1] - piece.parent[0] <= chunking.parent_chars
        assert piece.head is None or piece.head[1] <= piece.start


@pytest.mark.parametrize("strategy", ["recursive", "fixed", "sentence", "semantic", "code"])
def test_a_run_without_blanks_is_cut_all_the_same(strategy: Strategy) -> None:
    """A line of 300,000 characters hangs nothing and makes chunks within the bound."""
    pieces = cut("x" * 300_000, Chunking(strategy=strategy, max_chars=1000), media_type="text/plain")
    assert [(piece.start, piece.end) for piece in pieces] == [(n, n + 1000) for n in range(0, 300_000, 1000)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "text",
    [
        "# a" + " " * 60_000 + "b",
        "```x\n~~~y\n" * 6000,
        "|" + "-|" * 30_000,
        "a | b\n--|--\n" * 5000,
        "漢字。" * 20_000,
        "\u202eשלום עולם. " * 5000,
        "“”'\")" * 12_000,
        "( " * 30_000,
        ". " * 30_000 + "\n" * 1000,
    ],
    ids=["heading", "fences", "rule", "tables", "chinese", "hebrew", "quotes", "brackets", "points"],
)
def test_hostile_texts_are_cut_in_linear_time(strategy: Strategy, text: str) -> None:
    """What is quadratic would take longer than a test may."""
    kind = "text/x-python" if strategy == "code" else "text/markdown"
    pieces = _cut(text, Chunking(strategy=strategy), kind)
    assert pieces[-1].end == len(text.rstrip())


def test_chunks_know_their_headings_and_pages() -> None:
    """A line in a block of code is no heading; what follows a heading of the same level is no more under it."""
    text = "# One\n\nfirst\n\n## Two\n\n```\n# code\n```\n\n## Three ##\n\nlast"
    pieces = cut(text, Chunking(), media_type="text/markdown", page_starts=[0, 14])
    assert [(piece.heading, piece.page) for piece in pieces] == [("One", 1), ("One > Two", 2), ("One > Three", 2)]
    assert text[pieces[1].start : pieces[1].end] == "## Two\n\n```\n# code\n```"


def test_what_is_never_closed_is_no_block_of_code() -> None:
    """The headings below it still count."""
    pieces = cut("```\n# One\n\nfirst\n\n# C#\n\nlast", Chunking(), media_type="text/markdown")
    assert [piece.heading for piece in pieces] == ["", "One", "C#"]


@pytest.mark.parametrize("strategy", ["recursive", "semantic"])
def test_rows_of_a_table_keep_its_head(strategy: Strategy) -> None:
    """Each chunk but the first one begins at a row, and knows where the columns' names are; text after it does not."""
    text = f"The fleet by year.\n\n{TABLE}{ROWS}\n{'All is told. ' * 20}"
    pieces = _cut(text, Chunking(strategy=strategy, max_chars=120), "text/markdown")
    end = text.index("\nAll")
    within = [piece for piece in pieces if text.index("| 1991") <= piece.start < end]
    assert len(within) > 1 and all(text[piece.start] == "|" for piece in within)
    assert {text[slice(*piece.head)] for piece in within if piece.head} == {TABLE.rstrip()}
    assert all(piece.head for piece in within)
    assert not any(piece.head for piece in pieces if piece.start >= end or piece.start < text.index(ROWS))


def test_a_head_is_in_a_chunk_with_its_first_row() -> None:
    """It never stands at a chunk's end, with its rows in the next one."""
    for before in range(60, 120):
        text = f"{'w' * before}\n\n{TABLE}{ROWS}"
        assert not any(
            text[piece.start : piece.end].endswith("|---|---|")
            for piece in cut(text, Chunking(max_chars=120), media_type="text/plain")
        )


def test_a_head_that_is_longer_than_a_chunk_is_not_repeated() -> None:
    """It would be most of what is embedded."""
    text = f"| {'name ' * 40}| b |\n|---|---|\n{ROWS}"
    assert not any(piece.head for piece in cut(text, Chunking(max_chars=100), media_type="text/plain"))


def test_bars_without_a_rule_are_no_table() -> None:
    """Nor is a rule below a blank line, or one that nothing stands above."""
    for text in (ROWS, f"a | b\n\n|---|---|\n{ROWS}", f"|---|---|\n{ROWS}"):
        assert not any(piece.head for piece in cut(text, Chunking(max_chars=100), media_type="text/plain"))


def test_tokens_are_counted_as_the_encoding_counts_them() -> None:
    """A chunk ends after so many, never within a character; the next one begins as far before as is wanted."""
    text = "The harbour master keeps a list. 😀漢字🇩🇪 " * 40
    ends = token_ends(text)
    assert ends == sorted(ends) and ends[-1] == len(text)
    pieces = cut(text, Chunking(strategy="tokens", max_tokens=50, overlap_chars=30), media_type="text/plain")
    assert pieces[0].end <= ends[49] and len(pieces) > len(ends) // 50
    assert all(10 <= one.end - two.start <= 31 for one, two in itertools.pairwise(pieces))


def test_it_is_cut_where_neighbours_are_least_alike() -> None:
    """And only as often as the bound makes it."""
    parts = [(0, 40), (40, 80), (80, 120), (120, 160), (160, 200)]
    assert list(most_unlike(parts, [0.9, 0.9, 0.1, 0.9], 200)) == [(0, 200)]
    assert list(most_unlike(parts, [0.9, 0.9, 0.1, 0.9], 160)) == [(0, 120), (120, 200)]
    assert list(most_unlike(parts, [0.1, 0.9, 0.2, 0.9], 100)) == [(0, 40), (40, 120), (120, 200)]
    assert list(most_unlike(parts, [0.9, 0.1, 0.9, 0.9], 160, 40)) == [(0, 80), (40, 200)]


def test_what_is_compared_are_whole_sentences() -> None:
    """Short ones together; one that is too long for that stays whole, as long as it fits into a chunk."""
    long = "This sentence goes on and on about the harbour" + " and the boats in it" * 10 + "."
    text = f"Short one. Another one. {long} The end."
    (section,) = sections(text, Chunking(strategy="semantic"), "text/plain")
    assert isinstance(section, Section)
    assert [text[slice(*part)] for part in section.parts] == ["Short one. Another one.", long, "The end."]


@pytest.mark.parametrize(
    ("chunking", "words"),
    [
        (Chunking(max_chars=800, parent_chars=800), "must be above `max_chars`"),
        (Chunking(max_chars=100, overlap_chars=60), "half of `max_chars`"),
    ],
)
def test_what_does_not_go_together_is_refused(chunking: Chunking, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_chunking(chunking)


def test_files_are_known_by_the_ends_of_their_names() -> None:
    assert media_type_of("src/App.TSX") == "text/x-tsx"
    assert (media_type_of("a.md"), media_type_of("Makefile")) == ("text/markdown", "text/plain")
    assert len(set(CODE.values())) == 13


def test_sentences_end_at_their_marks() -> None:
    """Also in scripts that have no blank after it."""
    text = "One is here. Two, at 3.5 %! 三在这里。四？"
    assert [text[start:end] for start, end in sentences(text)] == [
        "One is here.",
        "Two, at 3.5 %!",
        "三在这里。",
        "四？",
    ]
