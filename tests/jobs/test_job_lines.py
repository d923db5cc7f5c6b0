"""The lines of a batch's file, however its pieces fall."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.jobs.lines import BadLine, Line, LineCutter, LineReader
from backstay.jobs.retry import MOST_TRIES, pause_before_next
from backstay.jobs.types import Answered

CHAT = "/v1/chat/completions"


def cut(pieces: list[bytes], longest_bytes: int = 1000) -> list[bytes | None]:
    cutter = LineCutter(longest_bytes)
    return [line for piece in pieces for line in cutter.feed(piece)] + list(cutter.end())


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_are_cut_alike_however_the_pieces_fall(lines: list[bytes], data: st.DataObject) -> None:
    """The lines of the whole are the lines of its pieces."""
    text = b"\n".join(lines)
    pieces: list[bytes] = []
    rest = text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces.append(rest[:size])
        rest = rest[size:]
    assert cut(pieces) == cut([text]) if text else cut(pieces) == []


def test_a_line_that_is_too_long_is_counted_and_not_kept() -> None:
    """And the lines around it are whole."""
    assert cut([b"a\n", b"x" * 50, b"x" * 60, b"\nb\r\nc"], 100) == [b"a", None, b"b", b"c"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_a_reason(text: bytes) -> None:
    """No line ends the reading of the others."""
    reader = LineReader(CHAT, 1000)
    found = reader.read(text.replace(b"\n", b""))
    assert found is None or isinstance(found, Line | BadLine)
    good = reader.read(json.dumps({"custom_id": "é", "method": "POST", "url": CHAT, "body": {"a": 1}}).encode())
    assert good == Line(number=2, custom_id="é", body=b'{"a": 1}')


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"custom_id": ""}, "invalid_custom_id"),
        ({"custom_id": 7}, "invalid_line"),
        ({"method": "GET"}, "invalid_method"),
        ({"url": "/v1/other"}, "mismatched_url"),
        ({"body": 7}, "invalid_body"),
        ({"body": {"stream": True}}, "invalid_body"),
    ],
)
def test_a_bad_line_has_its_number_and_reason(change: dict[str, object], code: str) -> None:
    """Whatever is wrong with it."""
    reader = LineReader(CHAT, 1000)
    reader.read(b"")
    found = reader.read(json.dumps({"custom_id": "a", "method": "POST", "url": CHAT, "body": {}, **change}).encode())
    assert isinstance(found, BadLine)
    assert (found.failure.code, found.failure.line) == (code, 2)
    assert found.failure.message.startswith("Line 2: ")


@given(st.integers(1, 50), st.floats(0, 1), st.sampled_from([400, 408, 429, 500, 503]), st.booleans())
def test_faults_are_tried_so_often_and_refusals_while_there_is_time(
    tries: int, chance: float, status: int, is_worth_another: bool
) -> None:
    """And never for longer than the answer is of use."""
    answered = Answered(http_status=status, body=b"", is_good=False, is_worth_another=is_worth_another)
    pause_s = pause_before_next(answered, tries, 1000.0, chance)
    again = is_worth_another and (tries < MOST_TRIES or status in (429, 503))
    assert (pause_s is not None) == again
    assert pause_s is None or 0 < pause_s <= 60
    assert pause_before_next(answered, tries, 0.1, chance) is None
