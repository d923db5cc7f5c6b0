"""Tests of source code that is cut at its definitions."""

import sys

import pytest

from backstay.retrieval.chunking import cut
from backstay.retrieval.code import CodeNotInstalled, code_parts, require_grammars
from backstay.retrieval.collections import check_chunking
from backstay.retrieval.types import Chunking

PYTHON = '''"""Harbour fees, in € and £."""
import datetime


class Harbour:
    """Holds boats."""

    @property
    def fee(self):
        return sum(boat.length for boat in self.boats) * 2

    # What a night costs.
    def night(self, boat):
        return boat.length * 3 + self.tax + self.light


def free():
    return None
'''

SOURCES = {
    "text/javascript": ("export class Harbour {\n  /* a night */\n  night(b) { return b.length * 33333 + this.tax; }\n"
                        "  fee(b) { return b.length * 22222 + this.tax; }\n}\n", "Harbour > night"),
    "text/x-typescript": ("class Harbour {\n  night(b: Boat): number { return b.length * 33333 + 1; }\n"
                          "  fee(b: Boat): number { return b.length * 22222 + 12; }\n}\n", "Harbour > night"),
    "text/x-tsx": ("class Harbour {\n  night(b: Boat) { return <b>{b.length * 33333 + 1}</b>; }\n"
                   "  fee(b: Boat) { return <b>{b.length * 22222 + 1}</b>; }\n}\n", "Harbour > night"),
    "text/x-go": ("package a\n\nfunc night(b int) int {\n\treturn b*33333 + 1111 + b*3 + b*4\n}\n\n"
                  "func fee(b int) int {\n\treturn b*22222 + 1111 + b*3 + b*4\n}\n", "night"),
    "text/x-rust": ("impl Harbour {\n    /// A night.\n    fn night(&self) -> u32 { self.length * 33333 + 1111 }\n"
                    "    fn fee(&self) -> u32 { self.length * 22222 + 1111 }\n}\n", "Harbour > night"),
    "text/x-java": ("class Harbour {\n  int night(Boat b) { return b.length * 33333 + 111 + 222; }\n"
                    "  int fee(Boat b) { return b.length * 22222 + 111 + 222; }\n}\n", "Harbour > night"),
    "text/x-c": ("/* A night. */\nint night(int b) { return b * 33333 + 1111 + b * 3; }\n"
                 "int fee(int b) { return b * 22222 + 1111 + b * 3 + b * 4 + 111; }\n", "night"),
    "text/x-c++": ("namespace harbour {\nint night(int b) { return b * 33333 + 1111 + b * 3; }\n"
                   "int fee(int b) { return b * 22222 + 1111 + b * 3 + b * 4; }\n}\n", "harbour > night"),
    "text/x-csharp": ("class Harbour {\n  int Night(Boat b) { return b.Length * 33333 + 111 + 222; }\n"
                      "  int Fee(Boat b) { return b.Length * 22222 + 111 + 222; }\n}\n", "Harbour > Night"),
    "text/x-ruby": ("class Harbour\n  def night(b)\n    b.length * 33333 + 1111 + b.tax + 222\n  end\n\n"
                    "  def fee(b)\n    b.length * 22222 + 1111 + b.tax\n  end\nend\n", "Harbour > night"),
    "text/x-php": ("<?php\nclass Harbour {\n  function night($b) { return $b->length * 33333 + 1111; }\n"
                   "  function fee($b) { return $b->length * 22222 + 1111; }\n}\n", "Harbour > night"),
    "text/x-sh": ("night() {\n  echo $(( $1 * 33333 + 1111 )) and some more words\n}\n\n"
                  "fee() {\n  echo $(( $1 * 22222 + 1111 )) and some more words\n}\n", "night"),
}  # fmt: skip


def test_definitions_stay_whole_with_what_stands_above_them() -> None:
    """A method keeps its decorator and its comment; a chunk's heading is the path of names to it."""
    pieces = cut(PYTHON, Chunking(strategy="code", max_chars=140), media_type="text/x-python")
    told = {piece.heading: PYTHON[piece.start : piece.end] for piece in pieces}
    assert told["Harbour > night"].startswith("# What a night costs.\n    def night")
    assert told["Harbour > night"].endswith("self.light")
    assert "@property\n    def fee" in told["Harbour > fee"] and told["free"] == "def free():\n    return None"


@pytest.mark.parametrize("media_type", SOURCES)
def test_each_language_is_cut_at_its_functions(media_type: str) -> None:
    text, heading = SOURCES[media_type]
    pieces = cut(text, Chunking(strategy="code", max_chars=100), media_type=media_type)
    (found,) = [piece for piece in pieces if "33333" in text[piece.start : piece.end]]
    assert found.heading == heading
    assert "22222" not in text[found.start : found.end]


def test_no_text_is_lost_where_the_syntax_is_wrong() -> None:
    """Parts follow on each other, whatever stands there; places are in characters, not in bytes."""
    for text in (PYTHON, "é😀(((" * 500, "def f(:\n" * 300, "", "\n\n", "\ud800 = 1"):
        parts = list(code_parts(text, "text/x-python", most=100))
        assert "".join(text[part.start : part.end] for part in parts) == text


def test_brackets_in_brackets_are_not_looked_into_for_ever() -> None:
    """Depth is bounded, as is the length of a chunk."""
    pieces = cut("[" * 30_000, Chunking(strategy="code"), media_type="text/x-python")
    assert max(piece.end - piece.start for piece in pieces) <= 800


def test_what_is_no_code_is_cut_as_ever() -> None:
    text = "# One\n\nfirst\n\n# Two\n\nsecond"
    pieces = cut(text, Chunking(strategy="code"), media_type="text/markdown")
    assert pieces == cut(text, Chunking(), media_type="text/markdown")


def test_a_missing_library_is_told_before_anything_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    from backstay.retrieval.code import _language  # pyright: ignore[reportPrivateUsage]

    require_grammars()
    _language.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    with pytest.raises(CodeNotInstalled, match=r"pip install 'backstay\[code\]'"):
        check_chunking(Chunking(strategy="code"))
    _language.cache_clear()
