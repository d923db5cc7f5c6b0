"""Bedrock's Converse: round trips, what others' requests become, answers and errors as AWS describes and sends them."""

import asyncio
import json
from contextlib import closing
from typing import Any

import aws_sdk
import msgspec
import pytest
from dialect_checks import (
    BEDROCK_NOW,
    NOW_S,
    check_bedrock_answer,
    check_bedrock_shape,
    converse_model,
    fields_of,
    is_path_in,
    read_stream,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import anthropic_requests, bedrock_answers, bedrock_requests, events_of, openai_requests, some

from backstay.core.chat import ChatRequest, ChatResponse, Image, Message, StreamFailed, Text
from backstay.core.errors import InvalidRequest, ProviderError, Untranslatable
from backstay.core.usage import Usage
from backstay.providers import ANTHROPIC, OPENAI, Dialect, accumulate, summarize
from backstay.providers.bedrock import BEDROCK
from backstay.providers.bedrock import errors as bedrock_errors
from backstay.providers.bedrock.request_writer import HARMLESS_HINTS
from backstay.providers.event_stream import EVENT_STREAM, write_event
from backstay.testing import simulator_server

CLAUDE, NOVA, LLAMA = "us.anthropic.claude-opus-5", "us.amazon.nova-2-lite-v1:0", "meta.llama3-3-70b-instruct-v1:0"
USER: dict[str, Any] = {"role": "user", "content": "hi"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def _fields(body: bytes, model: str, *, stream: bool = False) -> Any:
    return fields_of({"model": model, "stream": stream, **msgspec.json.decode(body)})


def _to_bedrock(model_id: str = CLAUDE, **fields: Any) -> Any:
    body = {"model": "m", "messages": [USER], **fields}
    return msgspec.json.decode(BEDROCK.write_request(OPENAI.read_request(fields_of(body)), model_id))


def _from_anthropic(model_id: str = CLAUDE, **fields: Any) -> Any:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **fields}
    return msgspec.json.decode(BEDROCK.write_request(ANTHROPIC.read_request(fields_of(body)), model_id))


def _check_request(body: bytes) -> None:
    """Assert that a request is as AWS's own description of it says."""
    check_bedrock_shape(converse_model().input_shape, json.loads(body), "")


@some
@given(bedrock_requests())
def test_requests_come_back_unchanged(request_: ChatRequest) -> None:
    """Neutral → Bedrock → neutral is the identity on what the dialect can express, and AWS's description allows it."""
    body = BEDROCK.write_request(request_, request_.model)
    _check_request(body)
    assert BEDROCK.read_request(_fields(body, request_.model, stream=request_.stream)) == request_


@some
@given(bedrock_answers(created_s=NOW_S))
def test_answers_come_back_unchanged(answer: ChatResponse) -> None:
    """An answer survives, is as AWS describes it, and is summed up right."""
    body = BEDROCK_NOW.write_response(answer)
    check_bedrock_answer(body)
    assert BEDROCK_NOW.read_response(body) == answer
    assert BEDROCK_NOW.read_summary(body) == summarize(answer)


@some
@given(bedrock_answers(created_s=NOW_S), st.booleans(), st.integers(0, 60))
def test_streams_come_back_unchanged(answer: ChatResponse, interleave: bool, chunk: int) -> None:
    """A stream, its tool calls side by side, cut anywhere, is read back into the answer it tells."""
    writer = BEDROCK_NOW.stream_writer(ChatRequest(model="m", messages=()))
    events = events_of(answer, interleave=interleave)
    stream = b"".join(writer.write(event) for event in events) + writer.end()
    reader = BEDROCK_NOW.stream_reader()
    assert accumulate(read_stream(reader, stream, chunk=chunk, framing=EVENT_STREAM)) == accumulate(events)
    assert reader.finished
    _check_blocks(stream)


def _check_blocks(stream: bytes) -> None:
    """Assert that botocore's parser takes every event, and that each block is closed once, after its last delta."""
    model: Any = aws_sdk.service_model()
    events = model.operation_model("ConverseStream").output_shape.members["stream"]
    buffer: Any = aws_sdk.eventstream.EventStreamBuffer()
    buffer.add_data(stream)
    opened: set[int] = set()
    closed: list[int] = []
    for message in buffer:
        kind, payload = message.headers[":event-type"], json.loads(message.payload)
        check_bedrock_shape(events.members[kind], payload, kind)
        index = payload.get("contentBlockIndex")
        if kind == "contentBlockStop":
            closed.append(index)
        elif index is not None:
            assert index not in closed
            opened.add(index)
    assert sorted(closed) == sorted(opened)


@some
@given(openai_requests() | anthropic_requests(), st.sampled_from([CLAUDE, NOVA, LLAMA]), st.booleans())
def test_nothing_of_others_requests_is_lost(request_: ChatRequest, model_id: str, from_anthropic: bool) -> None:
    """What a caller can say is carried in a form that AWS allows, or refused by a path in the caller's own body."""
    caller: Dialect = ANTHROPIC if from_anthropic else OPENAI
    try:
        body = caller.write_request(request_, "m")
    except Untranslatable:
        return
    fields = fields_of(body)
    try:
        written = BEDROCK.write_request(caller.read_request(fields), model_id)
    except Untranslatable as error:
        assert error.param is not None
        assert is_path_in(error.param, msgspec.json.decode(body)), error.param
        return
    assert BEDROCK.read_request(_fields(written, "m")).extras == {}


def test_a_whole_conversation() -> None:
    """System, images, calls, results and reasoning each find their place, with cache points behind what they mark."""
    marker = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = _from_anthropic(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True, **marker}],
        tool_choice={"type": "any"},
        messages=[
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
                {"type": "text", "text": "Look.", **marker},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "c2VjcmV0"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "and?"},
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [
                    {"type": "text", "text": "no", **marker}]},
            ]},
        ],
    )  # fmt: skip
    _check_request(msgspec.json.encode(body))
    assert body["system"] == [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}
    spec = {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}, "strict": True}
    assert body["toolConfig"] == {"tools": [{"toolSpec": spec}, hour], "toolChoice": {"any": {}}}
    assert body["messages"][0]["content"] == [
        {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
        {"text": "Look."},
        hour,
    ]
    assert body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
    ]
    result = {"toolResult": {"toolUseId": "t1", "content": [{"text": "no"}], "status": "error"}}
    assert body["messages"][2]["content"] == [result, hour, {"text": "and?"}]


def test_documents_have_names_that_bedrock_takes() -> None:
    """Other characters are replaced, and the second of a name gets a number; the format is that of the media type."""
    pdf = {"type": "file", "file": {"filename": "a_b.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    content = _to_bedrock(messages=[{"role": "user", "content": [pdf, pdf, {"type": "text", "text": "Sum up."}]}])
    documents = [block["document"] for block in content["messages"][0]["content"][:2]]
    assert [document["name"] for document in documents] == ["a-b-pdf", "a-b-pdf 2"]
    assert documents[0]["source"] == {"bytes": "JVBERi0="}
    assert documents[0]["format"] == "pdf"


def test_what_lies_in_s3_stays_there() -> None:
    """An `s3://` address is carried as such, with the format by its ending."""
    image = {"type": "image_url", "image_url": {"url": "s3://bucket/cat.jpg"}}
    content = _to_bedrock(messages=[{"role": "user", "content": [image]}])["messages"][0]["content"]
    assert content == [{"image": {"format": "jpeg", "source": {"s3Location": {"uri": "s3://bucket/cat.jpg"}}}}]
    read = BEDROCK.read_request(fields_of({"model": "m", "messages": [{"role": "user", "content": content}]}))
    assert read.messages == (Message(role="user", parts=(Image(url="s3://bucket/cat.jpg"),)),)


def test_each_model_gets_its_own_fields() -> None:
    """What Converse does not know goes to the model itself, in the words of its family."""
    claude = _from_anthropic(top_k=5, thinking={"type": "enabled", "budget_tokens": 2048}, stop_sequences=["END"])
    assert claude["additionalModelRequestFields"] == {
        "top_k": 5,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    }
    assert claude["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert claude["inferenceConfig"] == {"maxTokens": 9, "stopSequences": ["END"]}
    adaptive = _from_anthropic(thinking={"type": "adaptive"})
    assert adaptive["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}
    one = _to_bedrock(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert one["additionalModelRequestFields"] == {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    assert _to_bedrock(reasoning_effort="minimal")["outputConfig"] == {"effort": "low"}
    assert _to_bedrock(reasoning_effort="none")["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}
    nova = _from_anthropic(NOVA, top_k=5, output_config={"effort": "high"})
    assert nova["additionalModelRequestFields"] == {
        "inferenceConfig": {"topK": 5},
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"},
    }
    assert "outputConfig" not in nova


def test_json_output_labels_and_tiers() -> None:
    """A JSON schema is native; labels go along where they fit; OpenAI's automatic tier is Bedrock's silence."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = _to_bedrock(response_format=wanted, user="u1", metadata={"team": "blue", "note": "ä"}, service_tier="flex")
    structure = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (structure["name"], json.loads(structure["schema"])) == ("n", schema)
    assert body["requestMetadata"] == {"user_id": "u1", "team": "blue"}
    assert body["serviceTier"] == {"type": "flex"}
    assert _to_bedrock(service_tier="auto") == _to_bedrock()


def test_forbidden_tools_are_not_sent() -> None:
    """Where nothing may be called and nothing was, the model is not told of tools."""
    assert _to_bedrock(tools=[TOOL], tool_choice="none") == _to_bedrock()


def test_bedrocks_own_fields_pass() -> None:
    """A caller of another dialect can name them (`extra_body` of OpenAI's SDK)."""
    guardrail = {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
    body = _to_bedrock(guardrailConfig=guardrail, additionalModelRequestFields={"top_k": 3}, reasoning_effort="none")
    assert body["guardrailConfig"] == guardrail
    assert body["additionalModelRequestFields"] == {"top_k": 3, "thinking": {"type": "disabled"}}


@pytest.mark.parametrize("hint", sorted(HARMLESS_HINTS))
def test_hints_that_change_nothing_are_left_out(hint: str) -> None:
    """Each of them leaves no trace in the translation."""
    assert _to_bedrock(**{hint: "x"}) == _to_bedrock()


_CAT: dict[str, Any] = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
_BMP: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AAAA"}}
_CALL: dict[str, Any] = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_CALLED: list[dict[str, Any]] = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "a", "content": "1"},
]

REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("n", CLAUDE, {"n": 2}),
    ("logprobs", CLAUDE, {"logprobs": True}),
    ("logit_bias", CLAUDE, {"logit_bias": {"1": 5}}),
    ("seed", CLAUDE, {"seed": 0}),
    ("frequency_penalty", CLAUDE, {"frequency_penalty": 0.5}),
    ("temperature", CLAUDE, {"temperature": 1.5}),
    ("response_format", CLAUDE, {"response_format": {"type": "json_object"}}),
    ("service_tier", CLAUDE, {"service_tier": "scale"}),
    ("reasoning_effort", CLAUDE, {"reasoning_effort": "extreme"}),
    ("reasoning_effort", NOVA, {"reasoning_effort": "max"}),
    ("reasoning_effort", LLAMA, {"reasoning_effort": "none"}),
    ("parallel_tool_calls", LLAMA, {"tools": [TOOL], "parallel_tool_calls": False}),
    ("tool_choice", CLAUDE, {"messages": _CALLED, "tools": [TOOL], "tool_choice": "none"}),
    ("messages[1].content[0]", CLAUDE, {"messages": [USER, {"role": "user", "content": [_CAT]}]}),
    ("messages[0].content[0]", CLAUDE, {"messages": [{"role": "user", "content": [_BMP]}]}),
    ("messages[0].name", CLAUDE, {"messages": [{**USER, "name": "ann"}]}),
    ("messages[1]", CLAUDE, {"messages": [USER, {"role": "assistant", "content": "and so"}]}),
    ("messages", CLAUDE, {"messages": [{"role": "system", "content": "s"}]}),
    ("prediction", CLAUDE, {"prediction": {"type": "content", "content": "x"}}),
]


@pytest.mark.parametrize(("param", "model_id", "fields"), REFUSED)
def test_what_bedrock_cannot_say_is_refused_by_its_name(param: str, model_id: str, fields: dict[str, Any]) -> None:
    """The error names the caller's own field, and says what to do."""
    with pytest.raises(Untranslatable, match="choose a model that speaks your dialect") as refused:
        _to_bedrock(model_id, **fields)
    assert refused.value.param == param


_CAT_BLOCK: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}

REFUSED_FOR_ANTHROPIC: list[tuple[str, dict[str, Any]]] = [
    ("messages[0].content[0]", {"messages": [{"role": "user", "content": [_CAT_BLOCK]}]}),
    ("messages[0].content[0]", {"system": "s", "messages": [{"role": "user", "content": [_CAT_BLOCK]}]}),
    ("top_k", {"top_k": 4}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ("output_config.effort", {"output_config": {"effort": "extreme"}}),
    (
        "tool_choice.disable_parallel_tool_use",
        {
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
    ),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED_FOR_ANTHROPIC)
def test_anthropics_callers_read_their_own_names(param: str, fields: dict[str, Any]) -> None:
    """A refusal counts messages and names fields as a caller of Anthropic's dialect does."""
    sent = fields_of({"model": "m", "max_tokens": 9, "messages": [USER], **fields})
    with pytest.raises(Untranslatable) as refused:
        BEDROCK.write_request(ANTHROPIC.read_request(sent), LLAMA)
    assert refused.value.param == param
    assert refused.value.message.startswith(param)


_NOWHERE: dict[str, Any] = {"image": {"format": "png"}}

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": []}),
    ("messages[0].role", {"messages": [{"role": "robot", "content": []}]}),
    ("messages[0].content", {"messages": [{"role": "user"}]}),
    ("messages[0].content[0].image.source", {"messages": [{"role": "user", "content": [_NOWHERE]}]}),
    ("toolConfig.toolChoice", {"toolConfig": {"tools": [], "toolChoice": {}}}),
    ("inferenceConfig.maxTokens", {"inferenceConfig": {"maxTokens": "5"}}),
    ("outputConfig.textFormat.structure.jsonSchema", {"outputConfig": {"textFormat": {"type": "json_schema"}}}),
]


@pytest.mark.parametrize(("param", "fields"), WRONG)
def test_requests_that_are_wrong_say_where(param: str, fields: dict[str, Any]) -> None:
    """A field of the wrong type, or one that is missing, is named by its path."""
    body = {"model": "m", "messages": [{"role": "user", "content": [{"text": "hi"}]}], **fields}
    with pytest.raises(InvalidRequest) as wrong:
        BEDROCK.read_request(fields_of(body))
    assert wrong.value.param == param


def test_a_real_answer() -> None:
    """As AWS sends it: cached tokens are counted in, guardrails are a filter, unknown blocks are passed over."""
    body: dict[str, Any] = {
        "metrics": {"latencyMs": 1275},
        "output": {"message": {"content": [
            {"citationsContent": {"content": [{"text": "So "}, {"text": "it is."}], "citations": []}},
            {"toolUse": {"toolUseId": "s", "name": "code", "input": {}, "type": "server_tool_use"}},
            {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
        ], "role": "assistant"}},
        "stopReason": "guardrail_intervened",
        "trace": {"guardrail": {"actionReason": "x"}},
        "usage": {"inputTokens": 4, "outputTokens": 5, "totalTokens": 1029, "serverToolUsage": {},
                  "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 20,
                  "cacheDetails": [{"ttl": "1h", "inputTokens": 15}, {"ttl": "5m", "inputTokens": 5}]},
    }  # fmt: skip
    answer = BEDROCK_NOW.read_response(msgspec.json.encode(body))
    assert answer.choices[0].parts == (Text(text="So it is."),)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.usage == Usage(
        input_tokens=1024, output_tokens=5, cache_read_tokens=1000, cache_write_tokens=20, cache_write_1h_tokens=15
    )
    with pytest.raises(ProviderError, match="cannot be read"):
        BEDROCK.read_response(b'{"message": "what?"}')


def test_every_error_of_the_service_has_a_kind() -> None:
    """The table names each error that AWS describes for both operations, and each exception of a stream."""
    model: Any = aws_sdk.service_model()
    described = {shape.name for name in ("Converse", "ConverseStream") for shape in
                 model.operation_model(name).error_shapes}  # fmt: skip
    stream = model.operation_model("ConverseStream").output_shape.members["stream"]
    described |= {shape.name for shape in stream.members.values() if shape.metadata.get("exception")}
    known: Any = vars(bedrock_errors)["_KINDS"]
    assert described - set(known) == set()


ERRORS: list[tuple[int, str, str, str, bool]] = [
    (429, "ThrottlingException", "Too many requests, please wait before trying again.", "rate_limit", True),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", "quota", False),
    (429, "ModelNotReadyException", "Model is not ready for inference.", "overloaded", True),
    (408, "ModelTimeoutException", "Model has timed out in processing the request.", "timeout", True),
    (424, "ModelErrorException", "The request failed.", "api_error", True),
    (500, "InternalServerException", "Try again.", "api_error", True),
    (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", "overloaded", True),
    (400, "ValidationException", "The provided model identifier is invalid.", "invalid_request", False),
    (400, "ValidationException", "Input is too long for requested model.", "context_length", False),
    (400, "ServiceQuotaExceededException", "You have exceeded.", "quota", False),
    (403, "AccessDeniedException", "You don't have access to the model.", "permission", False),
    (403, "UnrecognizedClientException", "The security token is invalid.", "authentication", False),
    (403, "ExpiredTokenException", "The security token included in the request is expired", "authentication", False),
    (404, "ResourceNotFoundException", "Could not resolve the foundation model.", "not_found", False),
]  # fmt: skip


@pytest.mark.parametrize(("status", "name", "message", "kind", "retryable"), ERRORS)
def test_errors_are_understood(status: int, name: str, message: str, kind: str, retryable: bool) -> None:
    """The header names the error, with or without what AWS appends to it; some of AWS's doors write `Message`."""
    for headers, body in (
        (
            {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.coral.service/"},
            {"message": message},
        ),
        ({"x-amzn-errortype": name}, {"Message": message}),
        ({}, {"__type": f"com.amazon.coral.service#{name}", "message": message}),
    ):
        error = BEDROCK.read_error(status, headers, msgspec.json.encode(body))
        assert (error.status, error.kind, error.retryable) == (status, kind, retryable)
        assert (error.provider_code, error.message) == (name, message)


def test_a_wrong_signature_does_not_tell_the_session_token() -> None:
    """AWS repeats the signed headers in that error, the token among them: they are cut off."""
    message = (
        "The request signature we calculated does not match the signature you provided.\n\n"
        "The Canonical String for this request should have been\n'POST\n/model/x\nx-amz-security-token:CANARY'\n"
    )
    body = msgspec.json.encode({"message": message})
    error = BEDROCK.read_error(403, {"x-amzn-errortype": "InvalidSignatureException"}, body)
    assert "CANARY" not in error.message
    assert error.kind == "authentication"


@pytest.mark.parametrize(
    ("headers", "payload", "expected"),
    [
        (
            {":message-type": "exception", ":exception-type": "throttlingException"},
            b'{"message":"Slow down."}',
            StreamFailed(message="Slow down.", code="ThrottlingException"),
        ),
        (
            {":message-type": "exception", ":exception-type": "modelStreamErrorException"},
            b'{"originalMessage":"boom","originalStatusCode":500}',
            StreamFailed(message="boom", code="ModelStreamErrorException"),
        ),
        (
            {":message-type": "error", ":error-code": "InternalError", ":error-message": "Gone."},
            b"",
            StreamFailed(message="Gone.", code="InternalError"),
        ),
    ],
)
def test_a_stream_tells_that_it_failed(headers: dict[str, str], payload: bytes, expected: StreamFailed) -> None:
    """Exceptions and unmodelled errors inside a stream are failures with AWS's name and words."""
    assert BEDROCK.stream_reader().read(write_event(payload, headers)) == [expected]


def test_events_that_are_new_are_passed_over() -> None:
    """Padding, empty deltas and unknown events give nothing."""
    for kind, payload in (
        ("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":""},"p":"abcdefgh"}'),
        ("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"citation":{"title":"t"}}}'),
        ("somethingNew", b"{}"),
    ):
        frame = write_event(payload, {":event-type": kind, ":message-type": "event"})
        assert BEDROCK.stream_reader().read(frame) == []
    with pytest.raises(ProviderError, match="cannot be read"):
        BEDROCK.stream_reader().read(write_event(b"{", {":event-type": "metadata", ":message-type": "event"}))


def _ask_boto(url: str, operation: str) -> Any:
    """Ask with AWS's own client, without its retries; return the answer, or a stream's events."""
    config = aws_sdk.config.Config(retries={"max_attempts": 0}, read_timeout=10)
    client: Any = aws_sdk.boto3.Session().client(
        "bedrock-runtime", endpoint_url=url, region_name="eu-west-1", config=config,
        aws_access_key_id="AKID", aws_secret_access_key="secret",
    )  # fmt: skip
    content: Any = [{"text": "Weather?"}, {"document": {"format": "txt", "name": "a", "source": {"bytes": b"hello"}}}]
    tools: Any = [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]
    with closing(client):
        answer = getattr(client, operation)(
            modelId="arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-5",
            messages=[{"role": "user", "content": content}],
            toolConfig={"tools": tools, "toolChoice": {"any": {}}},
        )
        if operation == "converse":
            return answer
        with closing(answer["stream"]) as stream:
            return list(stream)


async def test_awss_own_client_understands_the_simulator() -> None:
    """boto3 gets whole answers and streams of calls from the simulator's socket, and usage that agrees."""
    async with simulator_server() as server:
        whole = await asyncio.to_thread(_ask_boto, server.url, "converse")
        stream = await asyncio.to_thread(_ask_boto, server.url, "converse_stream")
    assert whole["stopReason"] == "tool_use"
    assert whole["output"]["message"]["content"][0]["toolUse"]["name"] == "f"
    assert [next(iter(event)) for event in stream][:2] == ["messageStart", "contentBlockStart"]
    assert stream[-2]["messageStop"]["stopReason"] == "tool_use"
    assert stream[-1]["metadata"]["usage"]["inputTokens"] == whole["usage"]["inputTokens"] > 0


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "ThrottlingException"), (403, "AccessDeniedException"), (503, "ServiceUnavailableException")],
)
async def test_awss_own_client_raises_its_own_errors(status: int, name: str) -> None:
    """Each status of the simulator is the exception that boto3 has for it; one in a stream breaks the iteration."""
    async with simulator_server({"faults": [{"kind": "status", "status": status}]}) as server:
        with pytest.raises(aws_sdk.exceptions.ClientError) as error:
            await asyncio.to_thread(_ask_boto, server.url, "converse")
        assert type(error.value).__name__ == name
    async with simulator_server({"faults": [{"kind": "error_event", "status": status}]}) as server:
        with pytest.raises(aws_sdk.exceptions.EventStreamError):
            await asyncio.to_thread(_ask_boto, server.url, "converse_stream")
