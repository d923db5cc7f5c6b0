"""Owns where the tokens of a text end, as OpenAI's cl100k_base counts them."""

import functools
import importlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Protocol, cast

_SLICE_CHARS = 32_768


class _Tokenizer(Protocol):
    def encode_ordinary(self, text: str) -> list[int]: ...

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]: ...


def token_ends(text: str) -> list[int]:
    """Return where each token ends, in characters; one that ends within a character, behind it.

    A text with halves of characters, which UTF-8 cannot write, is counted with marks in their places.
    """
    tokenizer = _tokenizer()
    clean = text.encode("utf-8", "replace").decode()
    ends: list[int] = []
    for start, end in _slices(clean):
        tokens = tokenizer.encode_ordinary(clean[start:end])
        # A character begins with each byte that does not go on with one.
        begun = (sum(byte & 0xC0 != 0x80 for byte in token) for token in tokenizer.decode_tokens_bytes(tokens))
        ends += [start + each for each in accumulate(begun)]
    return ends


def _slices(text: str) -> Iterator[tuple[int, int]]:
    """Cut at blanks, at which tokens begin: the library refuses texts of more than 200,000 tokens."""
    start = 0
    while start < len(text):
        end = start + _SLICE_CHARS
        if end < len(text) and (blank := text.rfind(" ", start + 1, end)) > 0:
            end = blank
        yield start, min(end, len(text))
        start = end


@functools.cache
def _tokenizer() -> _Tokenizer:
    # Loaded when it is first asked, as it takes 68 MB of memory.
    package: Any = importlib.import_module("bpe_openai")
    return cast(_Tokenizer, package.get_encoding("cl100k_base"))
