"""Gemini's dialect, case by case: callers' requests, answers and errors as Google's servers have them.

Source of the shapes: https://ai.google.dev/api/generate-content; issues of google-gemini/gemini-cli (2026-11).
"""

from typing import Any

import msgspec
import pytest
from dialect_checks import GEMINI_NOW, NOW_S, fields_of, read_stream

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
    ChatResponse,
    Choice,
    Finished,
    Reasoning,
    ReasoningDelta,
    Started,
    StreamFailed,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.errors import ProviderError, Untranslatable
from backstay.core.usage import Usage
from backstay.providers import ANTHROPIC, OPENAI, accumulate
from backstay.providers.gemini.content_writer import NO_SIGNATURE
from backstay.providers.simulator.simulation import address

USER: dict[str, Any] = {"role": "user", "content": "hi"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
CALL: dict[str, Any] = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


def _from_openai(model_id: str = "gemini-3.5-flash", **fields: Any) -> Any:
    request = OPENAI.read_request(fields_of({"model": "m", "messages": [USER], **fields}))
    return msgspec.json.decode(GEMINI_NOW.write_request(request, model_id))


def _from_anthropic(**fields: Any) -> Any:
    request = ANTHROPIC.read_request(fields_of({"model": "m", "max_tokens": 9, "messages": [USER], **fields}))
    return msgspec.json.decode(GEMINI_NOW.write_request(request, "gemini-3.5-flash"))


def _turns(**call: Any) -> list[dict[str, Any]]:
    return [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, **call}, {**CALL, "id": "b"}]},
        {"role": "tool", "tool_call_id": "b", "content": '{"y": 2}'},
        {"role": "tool", "tool_call_id": "a", "content": "fine"},
    ]


def test_a_request_is_neither_model_nor_stream() -> None:
    """Both stand in the URL; every system message is in the instruction."""
    messages = [{"role": "system", "content": "a"}, USER, {"role": "developer", "content": "b"}]
    assert _from_openai(messages=messages, stream=True, max_tokens=5, stop="x", seed=0, top_p=0.5) == {
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 5, "topP": 0.5, "seed": 0, "stopSequences": ["x"]},
    }


def test_tool_results_carry_the_name_of_their_tool() -> None:
    """Results of one round are one turn; an object is the response itself, a text its output."""
    contents = _from_openai(messages=_turns(), model_id="gemini-2.5-pro")["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    assert contents[1]["parts"][0] == {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}
    assert [part["functionResponse"] for part in contents[2]["parts"]] == [
        {"id": "b", "name": "f", "response": {"y": 2}},
        {"id": "a", "name": "f", "response": {"output": "fine"}},
    ]


def test_a_failed_tool_says_so_and_its_pictures_go_along() -> None:
    """Anthropic's flag is the key ``error``; images are parts of the response."""
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    content = [{"type": "text", "text": "no"}, {"type": "image", "source": source}]
    result = {"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": True}
    use: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    turns: list[Any] = [USER, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    (part,) = _from_anthropic(messages=turns)["contents"][2]["parts"]
    assert part["functionResponse"] == {
        "id": "a",
        "name": "f",
        "response": {"error": "no"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
    }


def test_the_first_call_of_a_turn_is_signed() -> None:
    """With Gemini's own signature where the caller kept it, else with that for others' calls; old models need none."""
    signed = _from_openai(messages=_turns(extra_content={"google": {"thought_signature": "CpcB"}}))
    assert [part.get("thoughtSignature") for part in signed["contents"][1]["parts"]] == ["CpcB", None]
    unsigned = _from_openai(messages=_turns())
    assert [part.get("thoughtSignature") for part in unsigned["contents"][1]["parts"]] == [NO_SIGNATURE, None]
    assert "thoughtSignature" not in str(_from_openai(messages=_turns(), model_id="gemini-2.5-flash"))


def test_thoughts_that_another_vendor_signed_stay_behind() -> None:
    """Claude's signed thought is no part for Gemini, and Gemini's none for Claude."""
    use: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]}
    for signature, kept in (("EqQB", [NO_SIGNATURE]), ("gemini:CpcB", [None, "CpcB"])):
        thought = {"type": "thinking", "thinking": "hm", "signature": signature}
        turns: list[Any] = [USER, {"role": "assistant", "content": [thought, use]}, result]
        parts = _from_anthropic(messages=turns)["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == kept
        request = ANTHROPIC.read_request(fields_of({"model": "m", "max_tokens": 9, "messages": turns}))
        written = msgspec.json.decode(ANTHROPIC.write_request(request, "claude"))["messages"][1]["content"]
        assert [block["type"] for block in written] == (["thinking"] if signature == "EqQB" else []) + ["tool_use"]


@pytest.mark.parametrize(
    ("model_id", "effort", "thinking"),
    [
        ("gemini-3.5-flash", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-pro-latest", "none", {"thinkingLevel": "MINIMAL"}),
        ("gemini-2.5-flash", "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        ("models/gemini-2.5-flash", "none", {"thinkingBudget": 0}),
    ],
)
def test_efforts_are_levels_or_budgets(model_id: str, effort: str, thinking: Any) -> None:
    """Models before Gemini 3 know budgets only."""
    assert _from_openai(model_id, reasoning_effort=effort)["generationConfig"]["thinkingConfig"] == thinking


def test_budgets_carry_over() -> None:
    """Anthropic's budget is Gemini's, for every model."""
    config = _from_anthropic(thinking={"type": "enabled", "budget_tokens": 2048})["generationConfig"]
    assert config["thinkingConfig"] == {"thinkingBudget": 2048, "includeThoughts": True}


def test_tools_choices_and_schemas() -> None:
    """Schemas go as JSON schema; a strict tool demands calls that fit it; a named tool is the only one allowed."""
    body = _from_openai(tools=[TOOL])
    assert body["tools"] == [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    named = {"type": "function", "function": {"name": "f"}}
    for choice, config in (
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (named, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ):
        assert _from_openai(tools=[TOOL], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}}}
    assert _from_openai(response_format=wanted)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {"description": "d", "type": "object"},
    }


def test_media_go_inline_or_by_address() -> None:
    """Images, PDFs and sound keep their bytes; an address keeps its place."""
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg?size=1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    assert _from_openai(messages=[{"role": "user", "content": content}])["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://example.com/cat.jpg?size=1", "mimeType": "image/jpeg"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
    ]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("logit_bias", {"logit_bias": {"1": 5}}),
    ("n", {"n": 2, "stream": True}),
    ("parallel_tool_calls", {"tools": [TOOL], "parallel_tool_calls": False}),
    ("service_tier", {"service_tier": "scale"}),
    ("reasoning_effort", {"reasoning_effort": "extreme"}),
    ("verbosity", {"verbosity": "low"}),
    ("messages[0].name", {"messages": [{**USER, "name": "ann"}]}),
    ("messages[1]", {"messages": [USER, {"role": "assistant", "content": "and so"}]}),
    ("messages[1].tool_call_id", {"messages": [USER, {"role": "tool", "tool_call_id": "z", "content": "1"}]}),
    ("messages", {"messages": [{"role": "system", "content": "s"}]}),
    (
        "messages[0].content[0]",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
    ),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED)
def test_what_gemini_cannot_say_is_refused_by_openais_name(param: str, fields: dict[str, Any]) -> None:
    """The error names the caller's own field."""
    with pytest.raises(Untranslatable) as refused:
        _from_openai(**fields)
    assert refused.value.param == param


def test_what_gemini_cannot_say_is_refused_by_anthropics_name() -> None:
    """The same lacks under the names that an Anthropic caller used, who has the system prompt apart."""
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    result = {"type": "tool_result", "tool_use_id": "z", "content": "1"}
    for param, fields in (
        ("tool_choice.disable_parallel_tool_use", {"tools": tools, "tool_choice": choice}),
        ("messages[0].content[0].tool_use_id", {"system": "s", "messages": [{"role": "user", "content": [result]}]}),
        ("container", {"container": "c"}),
    ):
        with pytest.raises(Untranslatable) as refused:
            _from_anthropic(**fields)
        assert refused.value.param == param


def test_names_in_snake_case_are_read_too() -> None:
    """Protocol Buffers' JSON has both, and Google's own SDK mixes them; what others named stays as it is."""
    declaration = {"name": "f", "parameters_json_schema": {"properties": {"first_name": {"type": "string"}}}}
    body = {
        "contents": [{"parts": [{"function_call": {"name": "f", "args": {"first_name": "Ada"}}}], "role": "model"}],
        "system_instruction": {"parts": [{"text": "s"}]},
        "tools": [{"function_declarations": [declaration]}],
        "generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_level": "LOW"}},
    }
    request = GEMINI_NOW.read_request({**fields_of(body), **address("m", stream=False)})
    assert request.extras == {}
    assert (request.max_output_tokens, request.reasoning_effort, len(request.messages)) == (5, "low", 2)
    assert request.messages[1].parts == (ToolUse(id="f", name="f", arguments='{"first_name":"Ada"}'),)
    assert request.tools[0].schema == declaration["parameters_json_schema"]


def _candidate(*parts: dict[str, Any], finish: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **fields}
    return candidate if finish is None else {**candidate, "finishReason": finish}


def _answer(*candidates: dict[str, Any], **fields: Any) -> bytes:
    usage = {"promptTokenCount": 8, "candidatesTokenCount": 5, "totalTokenCount": 13}
    head = {"usageMetadata": usage, "modelVersion": "gemini-3.5-flash", "responseId": "r1"}
    return msgspec.json.encode({"candidates": list(candidates), **head, **fields})


def test_an_answer_with_thoughts_and_parallel_calls() -> None:
    """A thought, a signed call and a second one: the signature is the thought's, calls without id get one each."""
    body = _answer(
        _candidate(
            {"text": "I should look.", "thought": True},
            {"functionCall": {"name": "f", "args": {"city": "Paris"}}, "thoughtSignature": "CpcB"},
            {"functionCall": {"name": "f", "args": {"city": "Rome"}, "id": "own"}},
        )
    )
    assert GEMINI_NOW.read_response(body) == ChatResponse(
        id="r1",
        model="gemini-3.5-flash",
        created_s=NOW_S,
        choices=(
            Choice(
                index=0,
                parts=(
                    Reasoning(text="I should look.", signature="gemini:CpcB"),
                    ToolUse(id="call_r1_0", name="f", arguments='{"city":"Paris"}'),
                    ToolUse(id="own", name="f", arguments='{"city":"Rome"}'),
                ),
                finish_reason="tool_calls",
            ),
        ),
        usage=Usage(input_tokens=8, output_tokens=5),
    )
    assert GEMINI_NOW.read_summary(body).finish_reasons == ("tool_calls",)


USAGES: list[tuple[dict[str, Any], Usage]] = [
    (
        {
            "promptTokenCount": 2000,
            "cachedContentTokenCount": 1500,
            "candidatesTokenCount": 100,
            "thoughtsTokenCount": 400,
            "toolUsePromptTokenCount": 50,
            "totalTokenCount": 2550,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1900}, {"modality": "AUDIO", "tokenCount": 100}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
        },
        Usage(
            input_tokens=2050,
            output_tokens=500,
            cache_read_tokens=1500,
            reasoning_tokens=400,
            input_audio_tokens=100,
            cache_audio_read_tokens=60,
        ),
    ),
    (  # a server that counts thoughts among the candidates' tokens
        {"promptTokenCount": 10, "candidatesTokenCount": 30, "thoughtsTokenCount": 20, "totalTokenCount": 40},
        Usage(input_tokens=10, output_tokens=30, reasoning_tokens=20),
    ),
    ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(input_tokens=10, output_tokens=0)),
    ({}, Usage()),
]


@pytest.mark.parametrize(("wire", "usage"), USAGES)
def test_usage_includes_thoughts_and_what_tools_brought_in(wire: dict[str, Any], usage: Usage) -> None:
    """Totals include their parts; nothing said stays unknown."""
    assert GEMINI_NOW.read_summary(_answer(_candidate({"text": "a"}), usageMetadata=wire)).usage == usage


@pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE"])
def test_filters_are_content_filters(reason: str) -> None:
    """Whatever filter cut an answer off."""
    choice = GEMINI_NOW.read_response(_answer(_candidate({"text": "a"}, finish=reason))).choices[0]
    assert (choice.finish_reason, choice.parts) == ("content_filter", (Text(text="a"),))


def test_a_blocked_prompt_is_an_empty_filtered_answer() -> None:
    """Without candidates, the feedback on the prompt is the answer, whole and streamed."""
    blocked = msgspec.json.encode(
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}}
    )
    answer = GEMINI_NOW.read_response(blocked)
    assert answer.choices == (Choice(index=0, parts=(), finish_reason="content_filter"),)
    assert GEMINI_NOW.read_summary(blocked).finish_reasons == ("content_filter",)
    reader = GEMINI_NOW.stream_reader()
    assert accumulate(read_stream(reader, b"data: " + blocked + b"\n\n")) == answer
    assert (reader.finished, answer.usage) == (True, Usage(input_tokens=7, output_tokens=0))


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "OTHER"])
def test_a_model_that_failed_is_a_providers_error(reason: str) -> None:
    """Another try may succeed; what the failed one used is known all the same."""
    body = _answer(_candidate(finish=reason, finishMessage="print(default_api.f("))
    with pytest.raises(ProviderError, match=reason) as failed:
        GEMINI_NOW.read_response(body)
    assert (failed.value.retryable, failed.value.provider_code) == (True, reason)
    summary = GEMINI_NOW.read_summary(body)
    assert (summary.usage.output_tokens, summary.finish_reasons) == (5, ("error",))
    reader = GEMINI_NOW.stream_reader()
    events = read_stream(reader, b"data: " + body + b"\n\n")
    assert [type(event) for event in events] == [Started, UsageReported, StreamFailed]
    assert not reader.finished


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"{}", b'{"candidates": []}', b'{"candidates": 5}', b"\xff"]
)
def test_what_is_no_answer_is_a_providers_error(body: bytes) -> None:
    """An answer that says nothing at all, which Google's servers do send, is one that another try may cure."""
    for read in (GEMINI_NOW.read_summary, GEMINI_NOW.read_response):
        with pytest.raises(ProviderError, match="cannot be read") as broken:
            read(body)
        assert broken.value.retryable


def test_a_picture_in_an_answer_is_not_dropped() -> None:
    """No wire of the callers has a place for it, so it is an error that trying again would not cure."""
    body = _answer(_candidate({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}))
    with pytest.raises(ProviderError, match="picture or sound") as refused:
        GEMINI_NOW.read_response(body)
    assert not refused.value.retryable


def test_log_probabilities_are_openais() -> None:
    """Chosen tokens with those that were likely beside them, both ways."""
    token = {"token": "hi", "logProbability": -0.5, "tokenId": 4}
    result = {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]}
    answer = GEMINI_NOW.read_response(_answer(_candidate({"text": "hi"}, logprobsResult=result)))
    plain = {"token": "hi", "logprob": -0.5, "bytes": [104, 105]}
    assert answer.choices[0].logprobs == {"content": [{**plain, "top_logprobs": [plain]}], "refusal": None}
    assert GEMINI_NOW.read_response(GEMINI_NOW.write_response(answer)) == answer


def _stream(*bodies: bytes) -> bytes:
    return b"".join(b"data: " + body + b"\r\n\r\n" for body in bodies)


@pytest.mark.parametrize("chunk", [0, 7])
def test_a_stream_as_google_sends_it(chunk: int) -> None:
    """Thoughts, text, whole calls, and a last chunk whose empty text has the signature."""
    stream = _stream(
        _answer(_candidate({"text": "hm", "thought": True}, finish=None)),
        _answer(_candidate({"text": "Let me "}, finish=None)),
        _answer(_candidate({"text": "look."}, {"functionCall": {"name": "f", "args": {}}}, finish=None)),
        _answer(_candidate({"text": "", "thoughtSignature": "CpcB"})),
    )
    reader = GEMINI_NOW.stream_reader()
    events = [event for event in read_stream(reader, stream, chunk=chunk) if not isinstance(event, UsageReported)]
    expected: list[ChatEvent] = [
        Started(id="r1", model="gemini-3.5-flash", created_s=NOW_S),
        ReasoningDelta(text="hm"),
        TextDelta(text="Let me "),
        TextDelta(text="look."),
        ToolUseStarted(index=0, id="call_r1_0", name="f"),
        ToolUseDelta(index=0, arguments="{}"),
        ReasoningDelta(signature="gemini:CpcB"),
        Finished(reason="tool_calls"),
    ]
    assert events == expected
    assert reader.finished


def test_an_error_inside_a_stream_is_an_event() -> None:
    """A server that fails midway says so."""
    frame = b'data: {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}\n\n'
    assert GEMINI_NOW.stream_reader().read(frame) == [
        StreamFailed(message="The model is overloaded.", code="UNAVAILABLE")
    ]


def test_signatures_reach_openais_callers_with_their_call() -> None:
    """Whole and streamed, as Google's own endpoint of that dialect has them, and come back from there."""
    part = {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}, "thoughtSignature": "CpcB"}
    body = _answer(_candidate(part))
    signed = {"google": {"thought_signature": "CpcB"}}
    (call,) = msgspec.json.decode(OPENAI.write_response(GEMINI_NOW.read_response(body)))["choices"][0]["message"][
        "tool_calls"
    ]
    assert call == {**CALL, "extra_content": signed}
    writer = OPENAI.stream_writer(ChatRequest(model="m", messages=()))
    written = b"".join(writer.write(event) for event in read_stream(GEMINI_NOW.stream_reader(), _stream(body)))
    assert written.count(b'"extra_content":{"google":{"thought_signature":"CpcB"}}') == 1


def _violation(quota_id: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]}


_RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36.5s"}
_BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}

ERRORS: list[tuple[int, str, str, list[dict[str, Any]], str, bool, float | None]] = [
    (400, "INVALID_ARGUMENT", "Unknown name", [], "invalid_request", False, None),
    (400, "INVALID_ARGUMENT", "API key not valid.", [_BAD_KEY], "authentication", False, None),
    (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8).", [],
     "context_length", False, None),
    (400, "FAILED_PRECONDITION", "User location is not supported.", [], "permission", False, None),
    (403, "PERMISSION_DENIED", "Denied.", [], "permission", False, None),
    (404, "NOT_FOUND", "models/x is not found", [], "not_found", False, None),
    (429, "RESOURCE_EXHAUSTED", "Quota exceeded",
     [_violation("GenerateRequestsPerMinutePerProjectPerModel"), _RETRY], "rate_limit", True, 36.5),
    (429, "RESOURCE_EXHAUSTED", "Quota exceeded",
     [_violation("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), _RETRY], "quota", False, 36.5),
    (429, "RESOURCE_EXHAUSTED", "* Quota exceeded for metric: x, limit: 0, model: y", [_RETRY], "quota", False, 36.5),
    (429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.", [], "rate_limit", True, None),
    (500, "INTERNAL", "An internal error has occurred.", [], "api_error", True, None),
    (503, "UNAVAILABLE", "The model is overloaded.", [], "overloaded", True, None),
    (504, "DEADLINE_EXCEEDED", "Deadline expired.", [], "timeout", True, None),
]  # fmt: skip


@pytest.mark.parametrize("in_a_list", [False, True])
@pytest.mark.parametrize(("status", "code", "message", "details", "kind", "retryable", "wait_s"), ERRORS)
def test_errors_are_understood(
    status: int,
    code: str,
    message: str,
    details: list[dict[str, Any]],
    kind: str,
    retryable: bool,
    wait_s: float | None,
    in_a_list: bool,
) -> None:
    """Kind, whether to try again and when, from RPC status and details; a stream's error may come in a list."""
    value: Any = {"error": {"code": status, "message": message, "status": code, "details": details}}
    error = GEMINI_NOW.read_error(status, {}, msgspec.json.encode([value] if in_a_list else value))
    assert (error.message, error.provider_code, error.status) == (message, code, status)
    assert (error.kind, error.retryable, error.retry_after_s) == (kind, retryable, wait_s)


def test_errors_that_are_no_json_are_understood() -> None:
    """A proxy's page is an error with its status; keys are cut out of it."""
    error = GEMINI_NOW.read_error(
        502, {"retry-after": "3"}, b"<html>bad key AIzaSyA1234567890123456789012345678901234</html>"
    )
    assert (error.kind, error.retryable, error.retry_after_s) == ("api_error", True, 3.0)
