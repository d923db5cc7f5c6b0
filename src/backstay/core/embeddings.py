"""Owns the neutral form of an embeddings call: what every dialect that has them can be read into and written from."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from backstay.core.usage import Usage

EmbeddingInput = str | tuple[int, ...]
"""A text, or a text as the token ids of some model."""


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``None`` means that the caller left it to the model."""

    model: str
    inputs: tuple[EmbeddingInput, ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    """How the caller wants the vectors: a matter of its wire alone."""
    extras: dict[str, Any] = {}
    """Fields of the caller's dialect that have no neutral form, by name."""


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One vector an input, in their order."""

    model: str | None = None
    vectors: tuple[Sequence[float], ...]
    usage: Usage = Usage()
