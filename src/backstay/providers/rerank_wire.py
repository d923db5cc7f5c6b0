"""Owns the wire of rerankers: one query and texts go there, a score for each text comes back.

Cohere, Jina and Voyage agree on the request's ``model``, ``query`` and ``documents``, and on ``index`` and
``relevance_score`` of each result; they differ in the name of the limit (``top_n``, ``top_k``), in that of the list
(``results``, ``data``) and in what they bill: Cohere search units, the others tokens.
Sources: docs.cohere.com/reference/rerank, jina.ai/reranker, docs.voyageai.com/reference/reranker-api (2026-11).
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from backstay.core.errors import InvalidRequest
from backstay.core.usage import Usage
from backstay.providers.decoding import decode_answer
from backstay.providers.types import Fields, ReplySummary

_UNIT_DOCUMENTS = 100
"""Of a search unit of Cohere's, each of up to 510 tokens with the query; longer ones count by their parts.
Source: docs.cohere.com/docs/rerank-overview (2026-11)."""
_PART_BYTES = 250
"""A part has at least so many tokens of the document, as at most half of it is the query, and no token is shorter than
a byte."""


class RerankRequest(msgspec.Struct, frozen=True):
    """What all vendors take."""

    model: str
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[tuple[str, ...], Meta(min_length=1)]


class _Billed(msgspec.Struct, frozen=True):
    search_units: float | None = None


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Billed | None = None


class _Usage(msgspec.Struct, frozen=True):
    total_tokens: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    meta: _Meta | None = None
    usage: _Usage | None = None


_decoder = msgspec.json.Decoder(_Answer)


def read_rerank_request(fields: Fields) -> RerankRequest:
    """Read a request. Raises ``InvalidRequest`` where a field is missing, or of another kind."""
    try:
        return msgspec.json.decode(msgspec.json.encode(fields), type=RerankRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"A request to rerank needs `model`, `query` and `documents`, a list of texts: {error}."
        ) from None


def read_rerank_summary(body: bytes) -> ReplySummary:
    """Read what the books need of an answer; search units are counted as searches. Raises ``ProviderError``."""
    found = decode_answer(_decoder, body)
    return ReplySummary(id=found.id, model=found.model, usage=_usage(found))


def _usage(found: _Answer) -> Usage:
    if found.usage is not None and found.usage.total_tokens is not None:
        return Usage(input_tokens=found.usage.total_tokens)
    if found.meta is None or found.meta.billed_units is None or found.meta.billed_units.search_units is None:
        return Usage()
    return Usage(input_tokens=0, web_searches=-int(-found.meta.billed_units.search_units // 1))


def most_rerank_tokens(request: RerankRequest) -> int:
    """Return the most tokens that are billed: of each document, and of the query once for each."""
    asked = len(request.query.encode("utf-8", "surrogatepass"))
    return sum(asked + _size(text) for text in request.documents)


def most_search_units(request: RerankRequest) -> int:
    """Return the most search units that are billed."""
    parts = sum(1 + _size(text) // _PART_BYTES for text in request.documents)
    return -(-parts // _UNIT_DOCUMENTS)


def write_rerank_answer(scores: Sequence[float], *, model: str, tokens: int) -> bytes:
    """Write an answer as Jina has it, the best first."""
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    results = [{"index": place, "relevance_score": scores[place]} for place in order]
    return msgspec.json.encode({"model": model, "results": results, "usage": {"total_tokens": tokens}})


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
