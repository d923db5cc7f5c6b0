"""Traces drawn in a terminal."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backstay.cli import draw


def span(name: str, start_s: int, length_ms: float, children: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    started_at = f"2026-01-01T00:00:{start_s:02d}Z"
    fields = {"name": name, "status": "ok", "started_at": started_at, "duration_ms": length_ms, "cost_usd": None}
    return {**fields, "children": children or [], **more}


def test_a_tree_is_drawn_on_one_time_axis() -> None:
    """Each span's bar begins and ends where the span does, and its branch shows whose child it is."""
    tree = [
        span("chat fast", 0, 4000, [span("acme/a", 0, 1000, status="error"), span("local/b", 1, 3000)], cost_usd="0.1")
    ]
    assert [(row.name, row.bar, row.took) for row in draw.rows(tree, 8)] == [
        ("chat fast", "████████", "4.00 s"),
        ("├ acme/a", "██      ", "1.00 s"),
        ("└ local/b", "  ██████", "3.00 s"),
    ]


def test_a_grandchild_is_indented_below_its_parent() -> None:
    """Branches continue past the children of an earlier sibling."""
    tree = [span("a", 0, 10, [span("b", 0, 10, [span("c", 0, 10)]), span("d", 0, 10)])]
    assert [row.name for row in draw.rows(tree, 4)] == ["a", "├ b", "│ └ c", "└ d"]


def test_what_a_model_wrote_cannot_steer_the_terminal() -> None:
    """Control characters in an error are replaced."""
    (row,) = draw.rows([span("a", 0, 10, error_message="\x1b[2Jgone\x07")], 4)
    assert row.note == "�[2Jgone�"


@given(st.floats(0, 1e6, allow_nan=False), st.floats(0, 1e6, allow_nan=False), st.integers(1, 200))
def test_a_bar_is_visible_and_never_too_long(offset: float, length: float, width: int) -> None:
    """Whatever the span, its bar fills exactly its column and shows at least an eighth of a cell."""
    drawn = draw.bar(offset, length, width)
    assert len(drawn) == width
    assert drawn.strip()


def test_an_attempt_says_why_it_was_made_and_why_it_ended() -> None:
    """A fallback, its seam and what was left out stand beside what it came to; the first try needs no word."""
    first = span("a", 0, 10, error_message="overloaded", attributes={"backstay.attempt.reason": "first"})
    known = {"backstay.attempt.reason": "continue", "backstay.attempt.seam": 1234, "backstay.malformed_events": 2}
    second = span("b", 0, 10, attributes=known, cost_usd="0.1")
    assert [row.note for row in draw.rows([first, second], 4)] == [
        "overloaded",
        "goes on with a broken stream, after 1,234 characters, 2 malformed events left out   $0.1",
    ]


def test_an_empty_trace_draws_nothing() -> None:
    """No spans, no rows."""
    assert draw.rows([], 10) == []
