"""Owns Anthropic's count_tokens, both ways. Source: https://docs.claude.com/en/api/messages-count-tokens (2026-11)."""

import msgspec

from backstay.core.chat import ChatRequest
from backstay.providers.anthropic.request_reader import read_request
from backstay.providers.anthropic.request_writer import write_request
from backstay.providers.decoding import decode_answer
from backstay.providers.types import Fields

_COUNTED = frozenset({"messages", "model", "system", "thinking", "tool_choice", "tools"})


class _Count(msgspec.Struct, gc=False):
    input_tokens: int


_count = msgspec.json.Decoder(_Count)


class AnthropicCounter:
    """The wire."""

    def read_request(self, fields: Fields) -> ChatRequest:
        """Read a request: that of a message, without the limit that a message must have. Raises ``InvalidRequest``."""
        return read_request({"max_tokens": msgspec.Raw(b"1"), **fields})

    def write_request(self, request: ChatRequest, model_id: str) -> bytes:
        """Write a request. Raises ``Untranslatable``."""
        fields = msgspec.json.decode(write_request(request, model_id), type=Fields)
        return msgspec.json.encode({name: raw for name, raw in fields.items() if name in _COUNTED})

    def read_count(self, body: bytes) -> int:
        """Read an answer. Raises ``ProviderError`` if it is none."""
        return decode_answer(_count, body).input_tokens

    def write_count(self, tokens: int) -> bytes:
        """Write an answer."""
        return msgspec.json.encode({"input_tokens": tokens})
