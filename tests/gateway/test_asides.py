"""Embeddings and token counts by a target of another dialect, through a whole call."""

import base64
from array import array
from typing import Any

import pytest
from gateway_house import ASK, House

from backstay.providers import ANTHROPIC
from backstay.providers.simulator import Simulator


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_gemini_answers_openais_embeddings(house: House, encoding: str) -> None:
    """The vectors are those of the same model on OpenAI's wire, in the caller's encoding, and the call is priced."""
    vectors: list[Any] = []
    for speaks in ("openai", "gemini"):
        house.offer("m", Simulator("sim", speaks=speaks))
        body = {"input": ["a", "the sea"], "dimensions": 8, "encoding_format": encoding}
        sink = await house.call(body, operation="embeddings")
        assert (sink.status, sink.json["object"], sink.json["usage"]["prompt_tokens"]) == (200, "list", 3)
        vectors.append([item["embedding"] for item in sink.json["data"]])
    assert vectors[0] == vectors[1]
    if encoding == "base64":
        assert len(array("f", base64.b64decode(vectors[1][0]))) == 8
    assert [document.entries[0].input_tokens for document in house.documents] == [3, 3]


@pytest.mark.parametrize(
    ("param", "fields"), [("input", {"input": [1, 2]}), ("task", {"input": "a", "task": "retrieval.query"})]
)
async def test_embeddings_that_gemini_cannot_make_are_refused(house: House, param: str, fields: dict[str, Any]) -> None:
    """Token ids of another vendor's models, and fields that it has no form for."""
    house.offer("m", Simulator("sim", speaks="gemini"))
    sink = await house.call(fields, operation="embeddings")
    assert (sink.status, sink.json["error"]["param"]) == (400, param)


async def test_a_target_without_embeddings_is_refused(house: House) -> None:
    """Anthropic has none."""
    house.offer("m", Simulator("sim", speaks="anthropic"))
    sink = await house.call({"input": "a"}, operation="embeddings")
    assert (sink.status, sink.json["error"]["code"]) == (400, "untranslatable")


async def test_gemini_counts_an_anthropic_callers_tokens(house: House) -> None:
    """The target itself is asked, and the answer is the same as on the caller's own wire."""
    counts: list[int] = []
    for speaks in ("anthropic", "gemini"):
        house.offer("m", Simulator("sim", speaks=speaks))
        sink = await house.call({**ASK, "system": "Be brief."}, operation="count_tokens", dialect=ANTHROPIC)
        counts.append(sink.json["input_tokens"])
    assert counts[0] == counts[1] == 10
