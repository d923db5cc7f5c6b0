"""Dialects, both ways: what a dialect can express comes back from it unchanged; what it cannot is refused by name."""

from typing import Any

import anthropic.types
import msgspec
import openai.types.chat
from dialect_checks import (
    ANTHROPIC_NOW,
    GEMINI_NOW,
    NOW_S,
    check_gemini_answer,
    check_openai_schema,
    fields_of,
    is_path_in,
    read_stream,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    anthropic_answers,
    anthropic_requests,
    events_of,
    gemini_answers,
    gemini_requests,
    openai_answers,
    openai_requests,
    some,
)

from backstay.core.chat import ChatRequest, ChatResponse, Document, Message, Refusal, Text, ToolResult, ToolUse
from backstay.core.errors import Untranslatable
from backstay.providers import ANTHROPIC, OPENAI, Dialect, accumulate, summarize
from backstay.providers.simulator.simulation import address


def _rewritten(dialect: Dialect, request: ChatRequest) -> ChatRequest:
    return dialect.read_request(fields_of(dialect.write_request(request, request.model)))


def _rewritten_gemini(request: ChatRequest) -> ChatRequest:
    body = GEMINI_NOW.write_request(request, request.model)
    return GEMINI_NOW.read_request({**fields_of(body), **address(request.model, stream=request.stream)})


@some
@given(openai_requests())
def test_openai_requests_come_back_unchanged(request_: ChatRequest) -> None:
    """Neutral → OpenAI → neutral is the identity on what the dialect can express."""
    assert _rewritten(OPENAI, request_) == request_


@some
@given(anthropic_requests())
def test_anthropic_requests_come_back_unchanged(request_: ChatRequest) -> None:
    """Neutral → Anthropic → neutral is the identity on what the dialect can express."""
    assert _rewritten(ANTHROPIC, request_) == request_


@some
@given(gemini_requests())
def test_gemini_requests_come_back_unchanged(request_: ChatRequest) -> None:
    """Neutral → Gemini, its URL with it → neutral is the identity on what the dialect can express."""
    assert _rewritten_gemini(request_) == request_


@some
@given(gemini_answers(created_s=NOW_S))
def test_gemini_answers_come_back_unchanged(answer: ChatResponse) -> None:
    """An answer survives, fits the SDK's types, and is summed up right."""
    body = GEMINI_NOW.write_response(answer)
    check_gemini_answer(body)
    assert GEMINI_NOW.read_response(body) == answer
    assert GEMINI_NOW.read_summary(body) == summarize(answer)


@some
@given(gemini_answers(created_s=NOW_S), st.booleans(), st.integers(0, 60))
def test_gemini_streams_come_back_unchanged(answer: ChatResponse, interleave: bool, chunk: int) -> None:
    """A stream, cut anywhere, is read back into the answer it tells; each of its chunks is an answer to the SDK."""
    writer = GEMINI_NOW.stream_writer(ChatRequest(model="m", messages=()))
    stream = b"".join(writer.write(event) for event in events_of(answer, interleave=interleave)) + writer.end()
    reader = GEMINI_NOW.stream_reader()
    assert accumulate(read_stream(reader, stream, chunk=chunk)) == answer
    assert reader.finished
    for frame in stream.split(b"\n\n")[:-1]:
        check_gemini_answer(frame.removeprefix(b"data: "))


@some
@given(openai_answers())
def test_openai_answers_come_back_unchanged(answer: ChatResponse) -> None:
    """An answer survives, fits OpenAI's own schema and its SDK's strict types, and is summed up right."""
    body = OPENAI.write_response(answer)
    check_openai_schema("CreateChatCompletionResponse", msgspec.json.decode(body))
    openai.types.chat.ChatCompletion.model_validate_json(body, strict=True)
    assert OPENAI.read_response(body) == answer
    assert OPENAI.read_summary(body) == summarize(answer)


@some
@given(anthropic_answers(created_s=NOW_S))
def test_anthropic_answers_come_back_unchanged(answer: ChatResponse) -> None:
    """An answer survives, fits the SDK's strict types, and is summed up right."""
    body = ANTHROPIC_NOW.write_response(answer)
    anthropic.types.Message.model_validate_json(body, strict=True)
    assert ANTHROPIC_NOW.read_response(body) == answer
    assert ANTHROPIC_NOW.read_summary(body) == summarize(answer)


@some
@given(openai_answers(), st.booleans(), st.integers(0, 60))
def test_openai_streams_come_back_unchanged(answer: ChatResponse, interleave: bool, chunk: int) -> None:
    """A stream, its parallel tool calls side by side, cut anywhere, is read back into the answer it tells."""
    answer = msgspec.structs.replace(answer, system_fingerprint=None)
    writer = OPENAI.stream_writer(ChatRequest(model="m", messages=()))
    events = events_of(answer, interleave=interleave)
    stream = b"".join(writer.write(event) for event in events) + writer.end()
    reader = OPENAI.stream_reader()
    assert accumulate(read_stream(reader, stream, chunk=chunk)) == answer
    assert reader.finished
    for frame in stream.split(b"\n\n")[:-2]:
        data = frame.removeprefix(b"data: ")
        check_openai_schema("CreateChatCompletionStreamResponse", msgspec.json.decode(data))
        openai.types.chat.ChatCompletionChunk.model_validate_json(data, strict=True)


def _merged(answer: ChatResponse) -> ChatResponse:
    """Join neighbouring texts, which a stream's deltas do not tell apart."""
    choice = answer.choices[0]
    parts: list[Any] = []
    for part in choice.parts:
        if isinstance(part, Text) and parts and isinstance(parts[-1], Text):
            part = Text(text=parts.pop().text + part.text)
        parts.append(part)
    return msgspec.structs.replace(answer, choices=(msgspec.structs.replace(choice, parts=tuple(parts)),))


def _tools_last(answer: ChatResponse) -> ChatResponse:
    choice = answer.choices[0]
    parts = tuple(sorted(choice.parts, key=lambda part: isinstance(part, ToolUse)))
    return msgspec.structs.replace(answer, choices=(msgspec.structs.replace(choice, parts=parts),))


@some
@given(anthropic_answers(created_s=NOW_S), st.booleans(), st.integers(0, 60))
def test_anthropic_streams_come_back_unchanged(answer: ChatResponse, interleave: bool, chunk: int) -> None:
    """A stream, cut anywhere, is read back into the answer it tells; its blocks follow one another."""
    answer = msgspec.structs.replace(_merged(_tools_last(answer)), service_tier=None)
    writer = ANTHROPIC_NOW.stream_writer(ChatRequest(model="m", messages=()))
    stream = b"".join(writer.write(event) for event in events_of(answer, interleave=interleave)) + writer.end()
    reader = ANTHROPIC_NOW.stream_reader()
    assert accumulate(read_stream(reader, stream, chunk=chunk)) == answer
    assert reader.finished
    _check_block_order(stream)


def _check_block_order(stream: bytes) -> None:
    opened: list[int] = []
    for frame in stream.split(b"\n\n")[:-1]:
        name, _, data = frame.partition(b"\ndata: ")
        event = msgspec.json.decode(data)
        assert name.removeprefix(b"event: ").decode() == event["type"]
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(opened)
                opened.append(event["index"])
            case "content_block_delta":
                assert event["index"] == opened[-1]
            case "content_block_stop":
                assert event["index"] == opened[-1]
            case _:
                pass


def _said(messages: tuple[Message, ...]) -> list[str]:
    """Everything that somebody said, sorted: dialects differ in the order within a turn."""
    said: list[str] = []
    for message in messages:
        for part in message.parts:
            match part:
                case Text() | Refusal() | Document(text=str()):
                    said.append(part.text or "")
                case ToolUse():
                    said += [part.id, part.name, part.arguments]
                case ToolResult():
                    said += [part.tool_use_id, *(inner.text for inner in part.parts if isinstance(inner, Text))]
                case _:
                    said.append(type(part).__name__)
    return sorted(said)


def _plain(request_: ChatRequest) -> ChatRequest:
    """Take out what only one of the dialects has, so that most examples can be translated."""
    return msgspec.structs.replace(
        request_,
        messages=tuple(msgspec.structs.replace(message, name=None) for message in request_.messages),
        frequency_penalty=None,
        presence_penalty=None,
        logit_bias=None,
        seed=None,
        candidates=1,
        logprobs=False,
        top_logprobs=None,
        top_k=None,
        reasoning_budget_tokens=None,
        extras={},
    )


@some
@given(openai_requests(), st.booleans())
def test_openai_to_anthropic_loses_nothing(request_: ChatRequest, plain: bool) -> None:
    """A translation carries every word, or is refused by a path that leads somewhere in the caller's own body."""
    request_ = _plain(request_) if plain else request_
    body = OPENAI.write_request(request_, "m")
    read = OPENAI.read_request(fields_of(body))
    try:
        translated = ANTHROPIC.write_request(read, "m")
    except Untranslatable as error:
        assert error.param is not None
        assert is_path_in(error.param, msgspec.json.decode(body)), error.param
        return
    seen = ANTHROPIC.read_request(fields_of(translated))
    assert seen.extras == {}
    assert _said(seen.messages) == _said(read.messages)
    assert (seen.tools != (), seen.stop, seen.temperature) == (read.tools != (), read.stop, read.temperature)
    assert (seen.user, seen.service_tier) == (read.user, read.service_tier)


@some
@given(anthropic_requests(), st.booleans())
def test_anthropic_to_openai_loses_nothing(request_: ChatRequest, plain: bool) -> None:
    """A translation carries every word, or is refused by a path that leads somewhere in the caller's own body."""
    request_ = _plain(request_) if plain else request_
    body = ANTHROPIC.write_request(request_, "m")
    read = ANTHROPIC.read_request(fields_of(body))
    try:
        translated = OPENAI.write_request(read, "m")
    except Untranslatable as error:
        assert error.param is not None
        assert is_path_in(error.param, msgspec.json.decode(body)), error.param
        return
    seen = OPENAI.read_request(fields_of(translated))
    assert seen.extras == {}
    everything = "\n".join(_said(seen.messages))
    assert [word for word in _said(read.messages) if word not in everything and word != "Reasoning"] == []
    assert len(seen.tools) == len(read.tools)
    assert (seen.stop, seen.temperature, seen.user) == (read.stop, read.temperature, read.user)
    assert seen.max_output_tokens == read.max_output_tokens


@some
@given(st.one_of(openai_requests(), anthropic_requests()), st.booleans(), st.booleans())
def test_to_gemini_loses_nothing(request_: ChatRequest, plain: bool, newer: bool) -> None:
    """A translation carries every word, or is refused by a path that leads somewhere in the caller's own body."""
    caller = OPENAI if request_.caller_dialect == "openai" else ANTHROPIC
    body = caller.write_request(_plain(request_) if plain else request_, "m")
    read = caller.read_request(fields_of(body))
    try:
        translated = GEMINI_NOW.write_request(read, "gemini-3.5-flash" if newer else "gemini-2.5-flash")
    except Untranslatable as error:
        assert error.param is not None
        assert is_path_in(error.param, msgspec.json.decode(body)), error.param
        return
    seen = GEMINI_NOW.read_request({**fields_of(translated), **address("m", stream=read.stream)})
    assert seen.extras == {}
    everything = "\n".join(_said(seen.messages))
    assert [word for word in _said(read.messages) if word not in everything and word != "Reasoning"] == []
    assert len(seen.tools) == len(read.tools)
    assert (seen.stop, seen.temperature, seen.top_k, seen.stream) == (
        read.stop,
        read.temperature,
        read.top_k,
        read.stream,
    )
