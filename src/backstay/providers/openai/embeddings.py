"""Owns OpenAI's embeddings wire for those who translate: requests and answers from and to neutral form."""

import base64
from array import array
from typing import Any

import msgspec

from backstay.core.embeddings import EmbeddingRequest, EmbeddingResponse
from backstay.core.errors import ProviderUnreadable
from backstay.providers.decoding import decode_answer
from backstay.providers.embedding_wire import read_embeddings_request, write_vectors
from backstay.providers.fields import decode_fields
from backstay.providers.openai import wire
from backstay.providers.openai.response import read_embeddings_summary
from backstay.providers.refusals import own_extras
from backstay.providers.types import Fields, ReplySummary

_FIELDS = frozenset({"dimensions", "encoding_format", "input", "model"})


class _Item(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int = 0


class _Answer(msgspec.Struct, gc=False):
    data: list[_Item]
    model: str | None = None
    usage: wire.WireUsage | None = None


_whole = msgspec.json.Decoder(_Answer)


class OpenAIEmbeddings:
    """The wire."""

    def read_request(self, fields: Fields) -> EmbeddingRequest:
        """Read a request. Raises ``InvalidRequest``."""
        wanted = read_embeddings_request(msgspec.json.encode(fields))
        others = {name: raw for name, raw in fields.items() if name not in _FIELDS}
        return EmbeddingRequest(
            model=wanted.model,
            inputs=tuple(wanted.inputs()),
            dimensions=wanted.dimensions,
            encoding=wanted.encoding_format or "float",
            extras={name: value for name, value in decode_fields(others).items() if value is not None},
        )

    def write_request(self, request: EmbeddingRequest, model_id: str) -> bytes:
        """Write a request. Raises ``Untranslatable``."""
        extras = own_extras(request.extras, own=("user",), harmless={}, target="OpenAI's embeddings")
        body: dict[str, Any] = {"model": model_id, "input": request.inputs, "encoding_format": "float"}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return msgspec.json.encode(body | extras)

    def read_response(self, body: bytes) -> EmbeddingResponse:
        """Read an answer. Raises ``ProviderError`` if it is none."""
        found = decode_answer(_whole, body)
        vectors = tuple(_read_vector(item.embedding) for item in sorted(found.data, key=lambda item: item.index))
        return EmbeddingResponse(model=found.model, vectors=vectors, usage=wire.read_usage(found.usage))

    def write_response(self, response: EmbeddingResponse, request: EmbeddingRequest) -> bytes:
        """Write an answer, its vectors as the caller wants them."""
        return write_vectors(
            response.vectors,
            model=response.model or request.model,
            as_base64=request.encoding == "base64",
            tokens=response.usage.input_tokens or 0,
        )

    def read_summary(self, body: bytes) -> ReplySummary:
        """Read what the books need of an answer. Raises ``ProviderError`` if it is none."""
        return read_embeddings_summary(body)


def _read_vector(embedding: list[float] | str) -> list[float]:
    if not isinstance(embedding, str):
        return embedding
    try:
        return array("f", base64.b64decode(embedding, validate=True)).tolist()
    except ValueError as error:
        raise ProviderUnreadable("The provider's answer cannot be read: a vector is not base64.") from error
