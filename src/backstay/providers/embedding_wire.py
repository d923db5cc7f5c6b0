"""Owns OpenAI's embeddings wire for those who answer it here: the local model, the simulator, and translation."""

import base64
from array import array
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from backstay.core.embeddings import EmbeddingInput
from backstay.core.errors import InvalidRequest

MAX_INPUTS = 2048
"""Source: OpenAI API reference, Create embeddings, `input` (2025-06)."""


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    input: str | list[str | int | list[int]]
    model: str = ""
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None

    def inputs(self) -> list[EmbeddingInput]:
        """List what is to be embedded: ``input`` is one text, one list of token ids, or a list of either."""
        if isinstance(self.input, str):
            return [self.input]
        token_ids = tuple(item for item in self.input if isinstance(item, int))
        if token_ids and len(token_ids) == len(self.input):
            return [token_ids]
        return [item if isinstance(item, str) else tuple(item) for item in self.input if not isinstance(item, int)]


class _Item(msgspec.Struct):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int
    x_backstay_estimated: bool | UnsetType = UNSET


class _Response(msgspec.Struct):
    data: list[_Item]
    model: str
    usage: _Usage
    object: str = "list"


def read_embeddings_request(body: bytes) -> EmbeddingsRequest:
    """Read the body of ``POST /v1/embeddings``. Unknown fields are ignored.

    Raises:
        InvalidRequest: It is not JSON of that form, or its ``input`` is empty, too long or of mixed forms.
    """
    try:
        request = msgspec.json.decode(body, type=EmbeddingsRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The embeddings request is not valid: {error}.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(request.input, str) and len({type(item) for item in request.input}) != 1:
        raise InvalidRequest("input must be a text, a list of texts, or token ids.", param="input")
    if not all(request.inputs()):
        raise InvalidRequest("input must not hold an empty text.", param="input")
    if len(request.inputs()) > MAX_INPUTS:
        raise InvalidRequest(f"input may hold {MAX_INPUTS} texts at most.", param="input")
    return request


def write_embeddings_response(rows: Iterable[bytes], request: EmbeddingsRequest, *, tokens: int) -> bytes:
    """Write the answer. ``rows``: one vector an input, each as little-endian float32."""
    as_base64 = request.encoding_format == "base64"
    vectors = [base64.b64encode(row).decode() if as_base64 else array("f", row).tolist() for row in rows]
    return _write(vectors, request.model, tokens)


def write_vectors(
    vectors: Iterable[Sequence[float]], *, model: str, as_base64: bool, tokens: int, is_estimated: bool = False
) -> bytes:
    """Write the answer from numbers, which stay as they are unless they are wanted as base64 of float32.

    Args:
        is_estimated: Whether the vendor did not say how many tokens.
    """
    written = [
        base64.b64encode(array("f", vector).tobytes()).decode() if as_base64 else list(vector) for vector in vectors
    ]
    return _write(written, model, tokens, is_estimated=is_estimated)


def _write(vectors: Iterable[list[float] | str], model: str, tokens: int, *, is_estimated: bool = False) -> bytes:
    items = [_Item(index=index, embedding=vector) for index, vector in enumerate(vectors)]
    usage = _Usage(tokens, tokens, x_backstay_estimated=is_estimated or UNSET)
    return msgspec.json.encode(_Response(data=items, model=model, usage=usage))
