"""Owns the exact count of a request's input tokens, for models whose tokenizer is public: OpenAI's."""

import functools
import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, cast

import msgspec

from backstay.providers.types import Fields

_ENCODINGS = (
    ("gpt-3.5", "cl100k_base"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-5", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
)
"""How a model's name begins, and its encoding; the first that fits. Source: tiktoken, `model.py` (2026-11)."""

_PER_MESSAGE = 3
_PER_NAME = 1
_PER_REQUEST = 3
"""Source: OpenAI Cookbook, "How to count tokens with tiktoken", `num_tokens_from_messages` (2026-11)."""

_MARGIN = 16
"""For what the newest models may add and the cookbook does not tell."""

_COUNTED = frozenset({"messages"})
_UNREAD = frozenset(
    {
        "model", "user", "metadata", "safety_identifier", "prompt_cache_key", "store", "stream", "stream_options",
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "seed", "presence_penalty",
        "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "service_tier", "reasoning_effort", "verbosity",
    }
)  # fmt: skip
"""Fields that add no token of input."""


class _Tokenizer(Protocol):
    def encode_ordinary(self, text: str) -> Sequence[int]: ...


class _Text(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    text: str


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str | list[_Text]
    name: str | None = None


_messages = msgspec.json.Decoder(list[_Message])


def count_input_tokens(fields: Fields, dialect_name: str, price_provider: str | None, model_id: str) -> int | None:
    """Count the input tokens of a chat of plain text, by the model's own tokenizer.

    The first count loads the tokenizer: half a second and some 140 MB.

    Returns:
        ``None`` where it has anything else (tools, images, a schema), or the tokenizer is not public.
    """
    encoding = encoding_of(price_provider, model_id)
    if encoding is None or dialect_name != "openai" or not fields.keys() <= _COUNTED | _UNREAD:
        return None
    try:
        messages = _messages.decode(fields["messages"])
    except (KeyError, msgspec.DecodeError):
        return None
    count = partial(_count, _tokenizer(encoding))
    total = _PER_REQUEST + _MARGIN
    for message in messages:
        total += _PER_MESSAGE + count(message.role)
        if message.name is not None:
            total += _PER_NAME + count(message.name)
        texts = [message.content] if isinstance(message.content, str) else [part.text for part in message.content]
        total += sum(count(text) for text in texts)
    return total


def _count(tokenizer: _Tokenizer, text: str) -> int:
    return len(tokenizer.encode_ordinary(text))


def encoding_of(price_provider: str | None, model_id: str) -> str | None:
    """Name the encoding of a model; ``None`` where it is not known."""
    if price_provider != "openai":
        return None
    return next((encoding for beginning, encoding in _ENCODINGS if model_id.startswith(beginning)), None)


@functools.cache
def _tokenizer(encoding: str) -> _Tokenizer:
    # Loaded when the first budget runs low: 68 MB of memory in each worker otherwise, for nothing.
    package: Any = importlib.import_module("bpe_openai")
    return cast(_Tokenizer, package.get_encoding(encoding))
