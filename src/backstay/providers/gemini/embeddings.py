"""Owns Gemini's batchEmbedContents, both ways.

Source: https://ai.google.dev/api/embeddings (2026-11).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from backstay.core.embeddings import EmbeddingRequest, EmbeddingResponse
from backstay.core.errors import InvalidRequest
from backstay.core.usage import NO_USAGE, Usage
from backstay.providers.decoding import decode_answer
from backstay.providers.fields import ObjectReader, decode_fields
from backstay.providers.gemini import wire
from backstay.providers.gemini.request_reader import camel_names
from backstay.providers.refusals import own_extras, refuse
from backstay.providers.types import Fields, ReplySummary

_TARGET = "Gemini's batchEmbedContents"
_HARMLESS = {"user": "a label"}


class _Vector(msgspec.Struct, gc=False):
    values: list[float]


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: wire.WireUsage | None = None


class _Summary(msgspec.Struct, gc=False, rename="camel"):
    embeddings: msgspec.Raw
    usage_metadata: wire.WireUsage | None = None


_whole = msgspec.json.Decoder(_Answer)
_summary = msgspec.json.Decoder(_Summary)


class GeminiEmbeddings:
    """The wire. Its answers name no model, and their usage only since ``gemini-embedding-2``."""

    def read_request(self, fields: Fields) -> EmbeddingRequest:
        """Read a request. Raises ``InvalidRequest``."""
        extras: dict[str, Any] = {}
        body = ObjectReader(camel_names(decode_fields(fields)), "", extras)
        model = body.required("model", str).removeprefix("models/")
        items = [_read_item(item) for item in body.objects("requests")]
        if not items:
            raise InvalidRequest("requests must hold at least one request.", param="requests")
        body.finish()
        dimensions = {size for _, size in items}
        if len(dimensions) > 1:
            raise InvalidRequest("All requests of a batch must want the same outputDimensionality.", param="requests")
        texts = tuple(text for text, _ in items)
        return EmbeddingRequest(model=model, inputs=texts, dimensions=dimensions.pop(), extras=extras)

    def write_request(self, request: EmbeddingRequest, model_id: str) -> bytes:
        """Write a request. Raises ``Untranslatable``."""
        own_extras(request.extras, own=(), harmless=_HARMLESS, target=_TARGET)
        size = {} if request.dimensions is None else {"outputDimensionality": request.dimensions}
        items: list[dict[str, Any]] = []
        for text in request.inputs:
            if not isinstance(text, str):
                raise refuse("input", f"{_TARGET} takes texts, not token ids.")
            items.append({"model": f"models/{model_id}", "content": {"parts": [{"text": text}]}, **size})
        return msgspec.json.encode({"requests": items})

    def read_response(self, body: bytes) -> EmbeddingResponse:
        """Read an answer. Raises ``ProviderError`` if it is none."""
        found = decode_answer(_whole, body)
        vectors: tuple[Sequence[float], ...] = tuple(vector.values for vector in found.embeddings)
        return EmbeddingResponse(vectors=vectors, usage=_read_usage(found.usage_metadata))

    def write_response(self, response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
        """Write an answer."""
        usage = {"promptTokenCount": response.usage.input_tokens or 0}
        vectors = [{"values": vector} for vector in response.vectors]
        return msgspec.json.encode({"embeddings": vectors, "usageMetadata": usage})

    def read_summary(self, body: bytes) -> ReplySummary:
        """Read what the books need of an answer. Raises ``ProviderError`` if it is none."""
        return ReplySummary(usage=_read_usage(decode_answer(_summary, body).usage_metadata))


def _read_usage(usage: wire.WireUsage | None) -> Usage:
    return NO_USAGE if usage is None else Usage(input_tokens=usage.prompt_token_count)


def _read_item(item: ObjectReader) -> tuple[str, int | None]:
    item.raw("model")
    content = item.object("content")
    texts = [] if content is None else [part.required("text", str) for part in content.objects("parts")]
    if not any(texts):
        raise InvalidRequest(f"{item.at('content')} must hold a text.", param=item.at("content"))
    size = item.optional("outputDimensionality", int)
    item.finish()
    return "\n".join(texts), size
