"""OpenAI's responses API, both ways: what it can express comes back unchanged; what it cannot is refused by name."""

from typing import Any

import msgspec
import openai.types.responses
import pytest
from dialect_checks import fields_of, is_path_in, read_stream
from hypothesis import given
from hypothesis import strategies as st
from responses_strategies import responses_answers, responses_requests
from strategies import anthropic_requests, events_of, openai_requests, some

from backstay.core.chat import (
    ChatRequest,
    ChatResponse,
    Document,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
)
from backstay.core.errors import Untranslatable
from backstay.providers import ANTHROPIC, OPENAI, RESPONSES, Dialect, accumulate, summarize
from responses_schema import check_responses_schema, responses_event_schema


@some
@given(responses_requests())
def test_requests_come_back_unchanged(request_: ChatRequest) -> None:
    """Neutral → responses → neutral is the identity on what the dialect can express; OpenAI's document allows it."""
    body = RESPONSES.write_request(request_, request_.model)
    check_responses_schema("CreateResponse", msgspec.json.decode(body))
    assert RESPONSES.read_request(fields_of(body)) == request_


@some
@given(responses_answers())
def test_answers_come_back_unchanged(answer: ChatResponse) -> None:
    """An answer survives, fits OpenAI's own schema and its SDK's strict types, and is summed up right."""
    body = RESPONSES.write_response(answer)
    check_responses_schema("Response", msgspec.json.decode(body))
    openai.types.responses.Response.model_validate_json(body, strict=True)
    assert RESPONSES.read_response(body) == answer
    assert RESPONSES.read_summary(body) == summarize(answer)


@some
@given(responses_answers(), st.booleans(), st.integers(0, 60))
def test_streams_come_back_unchanged(answer: ChatResponse, interleave: bool, chunk: int) -> None:
    """A stream, its parallel tool calls side by side, cut anywhere, is read back into the answer that it tells."""
    writer = RESPONSES.stream_writer(ChatRequest(model="m", messages=()))
    events = events_of(answer, interleave=interleave)
    stream = b"".join(writer.write(event) for event in events) + writer.end()
    reader = RESPONSES.stream_reader()
    assert accumulate(read_stream(reader, stream, chunk=chunk)) == answer
    assert reader.finished
    _check_events(stream, answer)


def _check_events(stream: bytes, answer: ChatResponse) -> None:
    """Check each event by OpenAI's document, its number, and that the last one holds the whole response."""
    events: list[Any] = []
    for frame in stream.split(b"\n\n")[:-1]:
        name, _, data = frame.partition(b"\ndata: ")
        event = msgspec.json.decode(data)
        assert name.removeprefix(b"event: ").decode() == event["type"]
        if all(event["type"] != before["type"] for before in events):  # one of each kind: checking is slow
            check_responses_schema(responses_event_schema(event["type"]), event)
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert RESPONSES.read_response(msgspec.json.encode(events[-1]["response"])) == answer
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert [each["item"] for each in sorted(done, key=lambda each: each["output_index"])] == (
        events[-1]["response"]["output"]
    )


def _said(messages: tuple[Message, ...]) -> list[str]:
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
                case Image() | Document():
                    said.append(part.data or part.url or "")
                case _:
                    pass
    return sorted(said)


@pytest.mark.parametrize("target", [OPENAI, ANTHROPIC], ids=lambda dialect: dialect.name)
@some
@given(request_=responses_requests())
def test_a_translation_loses_nothing(target: Dialect, request_: ChatRequest) -> None:
    """Every word gets to the other dialect, or it is refused by a name of the caller's own body."""
    body = RESPONSES.write_request(request_, "m")
    read = RESPONSES.read_request(fields_of(body))
    try:
        translated = target.write_request(read, "m")
    except Untranslatable as error:
        _, _, answer = RESPONSES.write_error(error)
        told = msgspec.json.decode(answer)["error"]
        assert is_path_in(told["param"], msgspec.json.decode(body)), told
        assert told["param"] in told["message"]
        return
    seen = target.read_request(fields_of(translated))
    everything = "\n".join(_said(seen.messages))
    assert [word for word in _said(read.messages) if word not in everything] == []
    assert len(seen.tools) == len(read.tools)
    assert (seen.temperature, seen.user, seen.stream) == (read.temperature, read.user, read.stream)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@some
@given(data=st.data())
def test_other_dialects_get_there_whole_or_are_refused(wire: str, data: st.DataObject) -> None:
    """A caller of another dialect loses no word on the way to a model that has only the responses API."""
    source: Dialect = OPENAI if wire == "openai" else ANTHROPIC
    request_ = data.draw(openai_requests() if wire == "openai" else anthropic_requests())
    request_ = msgspec.structs.replace(request_, stop=(), seed=None, candidates=1, logit_bias=None, top_k=None)
    request_ = msgspec.structs.replace(
        request_, frequency_penalty=None, presence_penalty=None, reasoning_budget_tokens=None
    )
    body = source.write_request(request_, "m")
    read = source.read_request(fields_of(body))
    try:
        translated = RESPONSES.write_request(read, "m")
    except Untranslatable as error:
        assert error.param is not None
        # Whether a system message counts as the first differs by the caller's dialect, which a writer does not know.
        param = error.param if wire == "openai" else error.param.partition("[")[0]
        assert is_path_in(param, msgspec.json.decode(body)), error.param
        return
    seen = RESPONSES.read_request({**fields_of(translated), "previous_response_id": msgspec.Raw(b'"any"')})
    everything = "\n".join(_said(seen.messages))
    assert [word for word in _said(read.messages) if word not in everything] == []
    assert len(seen.tools) == len(read.tools)


def test_thoughts_go_back_to_the_model_that_thought_them() -> None:
    """OpenAI's encrypted reasoning keeps its item's id; another vendor's signature passes as it is."""
    openais = Reasoning(text="Hm.", signature="rs_9:gAAAA")
    answer = RESPONSES.read_response(
        msgspec.json.encode(
            {"id": "resp_1", "status": "completed", "output": [
                {"type": "reasoning", "id": "rs_9", "encrypted_content": "gAAAA",
                 "summary": [{"type": "summary_text", "text": "Hm."}]}]}
        )
    )  # fmt: skip
    assert answer.choices[0].parts == (openais,)
    signed = msgspec.structs.replace(
        answer, choices=(msgspec.structs.replace(answer.choices[0], parts=(Reasoning(text="Hm.", signature="EqQB"),)),)
    )
    (item,) = msgspec.json.decode(RESPONSES.write_response(signed))["output"]
    asked = {"model": "m", "input": [item, {"role": "user", "content": "Go on."}]}
    (thoughts, _) = RESPONSES.read_request(fields_of(asked)).messages
    assert thoughts.parts == (Reasoning(text="Hm.", signature="EqQB"),)


@pytest.mark.parametrize(("dialect", "name"), [(OPENAI, "stop"), (ANTHROPIC, "stop_sequences")])
def test_what_it_cannot_say_has_the_callers_own_name(dialect: Dialect, name: str) -> None:
    """OpenAI's responses have no stop sequences: each caller reads what they themselves have sent."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}], name: ["x"]}
    with pytest.raises(Untranslatable) as refused:
        RESPONSES.write_request(dialect.read_request(fields_of(body)), "gpt")
    assert refused.value.param == name
