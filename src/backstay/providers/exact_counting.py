"""Owns the exact count of a request's input tokens, for models whose tokenizer is public: OpenAI's."""

import functools
import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import msgspec

from backstay.providers.media_tokens import weigh_image
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

_PER_FUNCTION = 16
_PER_LINE = 4
_WITH_FUNCTIONS = 64
"""Where there are functions: the most that is written around all of them, around each, and around each line of a
description. The cookbook's `num_tokens_for_tools` has 12, 10 and at most 3 of it."""

_UNREAD = frozenset(
    {
        "model", "user", "metadata", "safety_identifier", "prompt_cache_key", "store", "stream", "stream_options",
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "seed", "presence_penalty",
        "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "service_tier", "reasoning_effort", "verbosity",
    }
)  # fmt: skip
"""Fields that add no token of input."""

_BY_BYTES = frozenset({"tool_choice", "parallel_tool_calls", "response_format"})
"""Fields that are bounded by their bytes: a byte-level tokenizer makes at most one token of each."""


class _Tokenizer(Protocol):
    def encode_ordinary(self, text: str) -> Sequence[int]: ...


_Object = dict[str, Any]
_messages = msgspec.json.Decoder(list[_Object])
_tools = msgspec.json.Decoder(list[_Object] | None)


def count_input_tokens(fields: Fields, dialect_name: str, price_provider: str | None, model_id: str) -> int | None:
    """Count the input tokens of a chat: texts and the descriptions of functions by the model's own tokenizer.

    Texts are exact; images are by the vendor's formula; what is written as JSON (names, parameters, calls of functions,
    a schema) is bounded by its bytes, as the form that models read it in is shorter and not published.
    The first count loads the tokenizer: half a second and some 140 MB.

    Returns:
        ``None`` where it has anything else (files, sound, the vendor's own tools), or the tokenizer is not public.
    """
    encoding = encoding_of(price_provider, model_id)
    known = _UNREAD | _BY_BYTES | {"messages", "tools"}
    if encoding is None or dialect_name != "openai" or not fields.keys() <= known:
        return None
    try:
        messages, tools = _messages.decode(fields["messages"]), _tools.decode(fields.get("tools", b"null"))
    except (KeyError, msgspec.DecodeError):
        return None
    counter = _Counter(_tokenizer(encoding), price_provider, model_id)
    try:
        total = sum(counter.message(message) for message in messages) + counter.functions(tools or ())
    except _Unbounded:
        return None
    by_bytes = sum(memoryview(fields[name]).nbytes for name in _BY_BYTES & fields.keys())
    return _PER_REQUEST + _MARGIN + total + by_bytes


class _Unbounded(Exception):
    """A request has something that cannot be counted from here."""


class _Counter:
    """Counts for one model."""

    def __init__(self, tokenizer: _Tokenizer, price_provider: str | None, model_id: str):
        self._tokenizer = tokenizer
        self._price_provider = price_provider
        self._model_id = model_id

    def message(self, message: _Object) -> int:
        total = _PER_MESSAGE
        for name, value in message.items():
            if name == "content":
                total += sum(self._part(part) for part in value) if isinstance(value, list) else self._said(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            elif name in ("role", "name", "refusal"):
                total += self._said(value) + (_PER_NAME if name == "name" else 0)
            elif name in ("tool_calls", "tool_call_id", "function_call"):
                total += len(msgspec.json.encode(value))
            else:
                raise _Unbounded
        return total

    def functions(self, tools: Sequence[_Object]) -> int:
        """Bound functions: their descriptions line by line, as comments have them; all else by its bytes."""
        if not tools:
            return 0
        total = _WITH_FUNCTIONS
        for tool in tools:
            if tool.get("type") != "function":
                raise _Unbounded
            total += _PER_FUNCTION + len(msgspec.json.encode(tool))
            for text in _descriptions(tool):
                lines = text.splitlines() or [""]
                counted = sum(self._count(line) + _PER_LINE for line in lines)
                total += min(0, counted - len(msgspec.json.encode(text)))
        return total

    def _part(self, part: object) -> int:
        known = cast("_Object", part) if isinstance(part, dict) else {}
        kind = known.get("type")
        if kind in ("text", "refusal") and known.keys() == {"type", kind}:
            return self._said(known[kind])
        if kind == "image_url" and isinstance(known.get("image_url"), dict):
            return weigh_image(known, self._price_provider, self._model_id)
        raise _Unbounded

    def _said(self, value: object) -> int:
        if value is None:
            return 0
        if not isinstance(value, str):
            raise _Unbounded
        return self._count(value)

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode_ordinary(text))


def _descriptions(value: object) -> Iterator[str]:
    """Find the descriptions of functions and parameters, wherever they stand."""
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _descriptions(item)
    elif isinstance(value, dict):
        for name, item in cast("_Object", value).items():
            if name == "description" and isinstance(item, str):
                yield item
            else:
                yield from _descriptions(item)


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
