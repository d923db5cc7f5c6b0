"""OpenAI's responses API as other servers send it, and events that no test of ours writes."""

from typing import Any

import msgspec
import pytest
from dialect_checks import fields_of, read_stream

from backstay.core.chat import Finished, Reasoning, Started, StreamFailed, Text, TextDelta, ToolUse, UsageReported
from backstay.core.errors import InvalidRequest, ProviderError
from backstay.core.usage import Usage
from backstay.providers import RESPONSES, accumulate
from backstay.providers.sse import write_frame

HOSTED: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1790000000.5, "status": "completed", "model": "gpt-5",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "tool_search_call", "id": "ts_1", "arguments": {"goal": "x"}, "call_id": None, "status": "completed"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "Paris.", "annotations": [{"type": "url_citation"}]}]},
    ],
    "usage": {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
}  # fmt: skip


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(write_frame(msgspec.json.encode(event), event["type"]) for event in events)


def test_hosted_tools_do_not_hinder_the_books() -> None:
    """An answer with items that nobody here knows is read as far as it is known, its searches are counted."""
    body = msgspec.json.encode(HOSTED)
    usage = Usage(input_tokens=9, output_tokens=2, cache_read_tokens=4, web_searches=1)
    assert RESPONSES.read_summary(body).usage == usage
    answer = RESPONSES.read_response(body)
    assert (answer.choices[0].parts, answer.usage, answer.created_s) == ((Text(text="Paris."),), usage, 1790000000)


def test_a_stream_with_unknown_events() -> None:
    """What is not known is passed over; a call whose arguments come only at its end has them."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": ""}
    read = read_stream(
        RESPONSES.stream_reader(),
        b": keep-alive\n\n"
        + stream(
            {"type": "response.queued", "response": {"id": "resp_1", "status": "queued", "model": "m"}},
            {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"},
            {"type": "response.reasoning_summary_part.added", "summary_index": 0, "output_index": 0},
            {"type": "response.reasoning_summary_text.delta", "delta": "One.", "summary_index": 0},
            {"type": "response.reasoning_summary_part.added", "summary_index": 1, "output_index": 0},
            {"type": "response.reasoning_text.delta", "delta": "Two.", "content_index": 0},
            {"type": "response.output_item.added", "output_index": 1, "item": call},
            {"type": "response.output_item.done", "output_index": 1, "item": {**call, "arguments": "{}"}},
            {"type": "response.completed", "response": {**HOSTED, "status": "completed"}},
        ),
    )
    assert isinstance(read[0], Started) and isinstance(read[-1], UsageReported)
    assert read[-2] == Finished(reason="tool_calls")
    parts = accumulate(read).choices[0].parts
    assert parts == (Reasoning(text="One.\n\nTwo."), ToolUse(id="c", name="f", arguments="{}"))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "no good", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "no good"}},
        {"type": "response.failed", "response": {
            "id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "no good"}}},
    ],
)  # fmt: skip
def test_a_failure_inside_a_stream(event: dict[str, Any]) -> None:
    """Each form in which a server says that it failed is understood."""
    delta = {"type": "response.output_text.delta", "delta": "Pa"}
    read = read_stream(RESPONSES.stream_reader(), stream(delta, event))
    assert read[0] == TextDelta(text="Pa")
    assert read[-1] == StreamFailed(message="no good", code="server_error")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output": {}}', b'{"output": [{"id": 1}]}', b"\xff"])
def test_what_is_no_response_is_an_error(body: bytes) -> None:
    """Garbage of a provider is its error, and worth another try."""
    for read in (RESPONSES.read_response, RESPONSES.read_summary):
        with pytest.raises(ProviderError) as caught:
            read(body)
        assert caught.value.retryable


def test_a_failed_response_is_an_error() -> None:
    """A whole answer that says that it failed is no answer."""
    body = msgspec.json.encode({"id": "r", "status": "failed", "output": [], "error": {"message": "no good"}})
    with pytest.raises(ProviderError, match="no good"):
        RESPONSES.read_response(body)


def test_a_long_conversation_is_read_in_linear_time() -> None:
    """A hundred thousand items on end are one message, and no more work than they are."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    asked = {"model": "m", "input": [{"role": "user", "content": "hi"}, *([call] * 100_000)]}
    _, said = RESPONSES.read_request(fields_of(asked)).messages
    assert len(said.parts) == 100_000


def test_a_deep_input_is_refused() -> None:
    """An input that nests without end is an error of the caller's."""
    deep = msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        RESPONSES.read_request({"model": msgspec.Raw(b'"m"'), "input": deep})
