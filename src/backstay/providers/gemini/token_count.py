"""Owns Gemini's countTokens, both ways.

Google AI Studio takes the whole request inside ``generateContentRequest``, Vertex AI takes its fields as they are.
Source: https://ai.google.dev/api/tokens; Vertex AI, REST ``models.countTokens`` (2026-11).
"""

from typing import Any

import msgspec

from backstay.core.chat import ChatRequest
from backstay.core.errors import InvalidRequest
from backstay.providers.decoding import decode_answer
from backstay.providers.gemini.request_reader import read_request
from backstay.providers.gemini.request_writer import write_prompt
from backstay.providers.types import Fields


class _Count(msgspec.Struct, gc=False, rename="camel"):
    total_tokens: int


_count = msgspec.json.Decoder(_Count)


class GeminiCounter:
    """The wire, as Google AI Studio (``wraps``) or Vertex AI has it."""

    def __init__(self, *, wraps: bool):
        self._wraps = wraps

    def read_request(self, fields: Fields) -> ChatRequest:
        """Read a request of either form. Raises ``InvalidRequest``."""
        wrapped = fields.get("generateContentRequest")
        if wrapped is None:
            return read_request(fields)
        try:
            return read_request({**msgspec.json.decode(wrapped, type=Fields), "model": fields["model"]})
        except msgspec.DecodeError:
            message = "generateContentRequest must be an object."
            raise InvalidRequest(message, param="generateContentRequest") from None

    def write_request(self, request: ChatRequest, model_id: str) -> bytes:
        """Write a request. Raises ``Untranslatable``."""
        prompt: dict[str, Any] = write_prompt(request, model_id)
        prompt.pop("toolConfig", None)
        if not self._wraps:
            return msgspec.json.encode(prompt)
        return msgspec.json.encode({"generateContentRequest": {"model": f"models/{model_id}", **prompt}})

    def read_count(self, body: bytes) -> int:
        """Read an answer. Raises ``ProviderError`` if it is none."""
        return decode_answer(_count, body).total_tokens

    def write_count(self, tokens: int) -> bytes:
        """Write an answer."""
        return msgspec.json.encode({"totalTokens": tokens})
