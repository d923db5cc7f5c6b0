"""Answers as servers really send them: every vendor's own habits, whole and streamed."""

from typing import Any

import msgspec
import pytest
from dialect_checks import ANTHROPIC_NOW, read_stream

from backstay.core.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finished,
    Part,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Started,
    StreamFailed,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.errors import ProviderError
from backstay.core.usage import Usage
from backstay.providers import ANTHROPIC, OPENAI, Dialect, accumulate, read_embeddings_summary, summarize


def _answer(**fields: Any) -> bytes:
    message = {"role": "assistant", **fields.pop("message", {"content": "hi"})}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **fields.pop("choice", {})}
    body = {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice], **fields}
    return msgspec.json.encode(body)


USAGES: list[tuple[Any, Usage]] = [
    ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(input_tokens=3, output_tokens=4)),
    (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 5, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 7},
        },
        Usage(
            input_tokens=2006,
            output_tokens=300,
            cache_read_tokens=1920,
            cache_write_tokens=10,
            reasoning_tokens=100,
            input_audio_tokens=5,
            output_audio_tokens=7,
        ),
    ),
    (  # DeepSeek
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 2},
        Usage(input_tokens=10, output_tokens=1, cache_read_tokens=8),
    ),
    (  # xAI counts reasoning beside the completion
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 141,
            "completion_tokens_details": {"reasoning_tokens": 100},
        },
        Usage(input_tokens=32, output_tokens=109, reasoning_tokens=100),
    ),
    ({"prompt_tokens": None, "completion_tokens": None}, Usage()),
    (None, Usage()),
]


@pytest.mark.parametrize(("wire", "usage"), USAGES)
def test_openai_usage_is_read_from_every_server(wire: Any, usage: Usage) -> None:
    """Totals include their parts, whoever counts; nothing said stays unknown."""
    assert OPENAI.read_summary(_answer(usage=wire)).usage == usage


def test_unknown_usage_is_not_zero() -> None:
    """A server that reports no usage leaves it unknown, not free."""
    assert OPENAI.read_summary(_answer()).usage.is_known is False


MESSAGES: list[tuple[Any, tuple[Part, ...]]] = [
    ({"content": "a", "reasoning_content": "r"}, (Reasoning(text="r"), Text(text="a"))),  # DeepSeek, vLLM
    ({"content": "a", "reasoning": "r"}, (Reasoning(text="r"), Text(text="a"))),  # OpenRouter, Groq
    (
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                {"type": "text", "text": "a"},
            ]
        },
        (Reasoning(text="r"), Text(text="a")),
    ),  # Mistral
    ({"content": None, "refusal": "no"}, (Refusal(text="no"),)),
    ({"content": None, "audio": {"id": "x", "data": "AA", "transcript": "hi"}}, (Text(text="hi"),)),
    (
        {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        (ToolUse(id="call_0", name="f", arguments='{"a":1}'),),
    ),  # Ollama has sent objects, and calls without id
    ({"content": None}, ()),
]


@pytest.mark.parametrize(("message", "parts"), MESSAGES)
def test_openai_messages_are_read_from_every_server(message: Any, parts: Any) -> None:
    """Reasoning, refusals and tool calls are found where each server puts them."""
    assert OPENAI.read_response(_answer(message=message)).choices[0].parts == parts


@pytest.mark.parametrize(
    ("reason", "read"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("model_length", "length"),
        ("insufficient_system_resource", "error"),
        ("eos", "stop"),
        ("", None),
        (None, None),
    ],
)
def test_finish_reasons_are_read_from_every_server(reason: str | None, read: str | None) -> None:
    """A reason of which nobody has heard is a normal end."""
    assert OPENAI.read_response(_answer(choice={"finish_reason": reason})).choices[0].finish_reason == read


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"<html>busy</html>", b'{"choices": 5}', b"\xff\xfe", b'{"error": {"message": "x"}}'],
)
def test_what_is_no_answer_is_a_providers_error(dialect: Dialect, body: bytes) -> None:
    """Garbage with a good status is an error that another try may cure."""
    for read in (dialect.read_summary, dialect.read_response):
        with pytest.raises(ProviderError, match="cannot be read") as broken:
            read(body)
        assert broken.value.retryable


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize("data", [b"{", b"null", b"[1]", b'{"choices": 5, "type": 5}', b"\xff"])
def test_a_garbled_event_is_a_providers_error(dialect: Dialect, data: bytes) -> None:
    """An event that is not JSON of the dialect stops the stream."""
    with pytest.raises(ProviderError, match="cannot be read"):
        dialect.stream_reader().read(b"data: " + data + b"\n\n")


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    "frame",
    [
        b": OPENROUTER PROCESSING\n\n",
        b'event: ping\ndata: {"type": "ping"}\n\n',
        b'data: {"type": "later_invention"}\n\n',
    ],
)
def test_events_that_say_nothing_are_passed_over(dialect: Dialect, frame: bytes) -> None:
    """Comments, pings and events that are not known yet are no answer."""
    assert dialect.stream_reader().read(frame) == []


def _chunks(*chunks: dict[str, Any]) -> bytes:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    frames = [b"data: " + msgspec.json.encode({**head, **chunk}) + b"\n\n" for chunk in chunks]
    return b"".join(frames) + b"data: [DONE]\n\n"


def _delta(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _call(index: int | None = None, id: str | None = None, name: str | None = None, arguments: str = "") -> Any:
    call: dict[str, Any] = {"function": {"arguments": arguments, **({"name": name} if name else {})}}
    return call | ({} if index is None else {"index": index}) | ({} if id is None else {"id": id, "type": "function"})


def test_a_stream_of_azure_begins_with_its_first_choice() -> None:
    """Azure's first chunk has filter results instead of an id and choices."""
    stream = _chunks(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]},
        _delta(role="assistant", content=""),
        _delta(content="hi"),
        _delta("stop"),
    )
    events = read_stream(OPENAI.stream_reader(), stream)
    assert events == [Started(id="c1", model="m", created_s=7), TextDelta(text="hi"), Finished(reason="stop")]


@pytest.mark.parametrize("chunk", [0, 1, 7])
def test_parallel_tool_calls_may_be_interleaved(chunk: int) -> None:
    """Pieces of two calls in turn are sorted out by their index."""
    stream = _chunks(
        _delta(role="assistant", content=None),
        _delta(tool_calls=[_call(0, "a", "f"), _call(1, "b", "g")]),
        _delta(tool_calls=[_call(0, arguments='{"x"')]),
        _delta(tool_calls=[_call(1, arguments="{}")]),
        _delta(tool_calls=[_call(0, arguments=":1}")]),
        _delta("tool_calls"),
    )
    answer = accumulate(read_stream(OPENAI.stream_reader(), stream, chunk=chunk))
    expected = (ToolUse(id="a", name="f", arguments='{"x":1}'), ToolUse(id="b", name="g", arguments="{}"))
    assert answer.choices[0].parts == expected


def test_interleaved_calls_become_blocks_in_a_row() -> None:
    """On Anthropic's wire a call waits for the one before it, and nothing of it is lost."""
    stream = _chunks(
        _delta(tool_calls=[_call(0, "a", "f"), _call(1, "b", "g")]),
        _delta(tool_calls=[_call(1, arguments='{"y":2}')]),
        _delta(tool_calls=[_call(0, arguments='{"x":1}')]),
        _delta("tool_calls"),
    )
    writer = ANTHROPIC.stream_writer(ChatRequest(model="m", messages=()))
    events = read_stream(OPENAI.stream_reader(), stream)
    written = b"".join(writer.write(event) for event in events) + writer.end()
    answer = accumulate(read_stream(ANTHROPIC_NOW.stream_reader(), written))
    expected = (ToolUse(id="a", name="f", arguments='{"x":1}'), ToolUse(id="b", name="g", arguments='{"y":2}'))
    assert answer.choices[0].parts == expected
    assert answer.choices[0].finish_reason == "tool_calls"


def test_calls_in_a_row_are_streamed_at_once() -> None:
    """A call that is whole is closed as soon as the next begins, which then streams live."""
    writer = ANTHROPIC.stream_writer(ChatRequest(model="m", messages=()))
    writer.write(Started(id="a", model="m", created_s=0))
    writer.write(ToolUseStarted(index=0, id="a", name="f"))
    writer.write(ToolUseDelta(index=0, arguments="{}"))
    assert b"content_block_stop" in writer.write(ToolUseStarted(index=1, id="b", name="g"))
    assert b"input_json_delta" in writer.write(ToolUseDelta(index=1, arguments='{"a"'))


def test_whole_calls_without_index_are_told_apart() -> None:
    """Some servers send each call in one piece, without an index."""
    stream = _chunks(
        _delta(tool_calls=[_call(None, "a", "f", "{}")]),
        _delta(tool_calls=[_call(None, "b", "g", '{"x":1}')]),
        _delta("tool_calls"),
    )
    parts = accumulate(read_stream(OPENAI.stream_reader(), stream)).choices[0].parts
    assert parts == (ToolUse(id="a", name="f", arguments="{}"), ToolUse(id="b", name="g", arguments='{"x":1}'))


def test_usage_is_found_wherever_a_stream_has_it() -> None:
    """In a last chunk of its own (OpenAI), beside the finish reason (Mistral), or in Groq's extra object."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    places: list[dict[str, Any]] = [
        {"choices": [], "usage": usage},
        {**_delta("stop"), "usage": usage},
        {"x_groq": {"usage": usage}},
    ]
    for last in places:
        events = read_stream(OPENAI.stream_reader(), _chunks(_delta(content="a"), last))
        assert accumulate(events).usage == Usage(input_tokens=3, output_tokens=4)


def test_reasoning_streams_under_either_name() -> None:
    """`reasoning_content` and `reasoning` are the same thing."""
    stream = _chunks(_delta("", reasoning_content="a"), _delta(reasoning="b"), _delta(content="c"), _delta("stop"))
    assert accumulate(read_stream(OPENAI.stream_reader(), stream)).choices[0].parts == (
        Reasoning(text="ab"),
        Text(text="c"),
    )


def test_logprobs_of_a_stream_are_joined() -> None:
    """The pieces' token lists become one list, as in a whole answer."""
    token: dict[str, Any] = {"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    choice: dict[str, Any] = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token], "refusal": None}}
    stream = _chunks({"choices": [choice]}, {"choices": [choice]}, _delta("stop"))
    answer = accumulate(read_stream(OPENAI.stream_reader(), stream))
    assert answer.choices[0].logprobs == {"content": [token, token], "refusal": None}


def test_an_error_inside_an_openai_stream_is_an_event() -> None:
    """A provider that fails midway says so; keys in its words are cut out."""
    frame = b'data: {"error": {"message": "overloaded for sk-proj-abcdefghijkl", "type": "server_error"}}\n\n'
    assert OPENAI.stream_reader().read(frame) == [
        StreamFailed(message="overloaded for [redacted]", code="server_error")
    ]


ANTHROPIC_STREAM = b"""\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":\
[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":20,"cache_creation_input_tokens":100,\
"cache_read_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":40},\
"output_tokens":1,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":" see"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"Emw="}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Checking."}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"web_search",\
"input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\\"query\\":1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\\"x\\": 1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89,\
"server_tool_use":{"web_search_requests":2}}}

event: message_stop
data: {"type":"message_stop"}

"""

ANTHROPIC_USAGE = Usage(
    input_tokens=1120,
    output_tokens=89,
    cache_read_tokens=1000,
    cache_write_tokens=100,
    cache_write_1h_tokens=40,
    web_searches=2,
)


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 50])
def test_an_anthropic_stream_is_read_whole(chunk: int) -> None:
    """Thinking with its signature, text, a tool call, what the servers ran, and usage of both ends of the stream."""
    reader = ANTHROPIC_NOW.stream_reader()
    events = read_stream(reader, ANTHROPIC_STREAM, chunk=chunk)
    answer = accumulate(events)
    assert reader.finished
    assert answer.choices[0] == Choice(
        index=0,
        parts=(
            Reasoning(text="Let me see", signature="EqQB"),
            Reasoning(redacted="Emw="),
            Text(text="Checking."),
            ToolUse(id="toolu_1", name="f", arguments='{"x": 1}'),
        ),
        finish_reason="tool_calls",
    )
    assert (answer.usage, answer.service_tier) == (ANTHROPIC_USAGE, "default")


def test_a_cut_anthropic_stream_knows_its_input() -> None:
    """What the stream began with is enough to price the input of an answer that broke off."""
    events = read_stream(ANTHROPIC_NOW.stream_reader(), ANTHROPIC_STREAM.partition(b"event: ping")[0])
    usage = accumulate(events).usage
    assert (usage.input_tokens, usage.cache_read_tokens) == (1120, 1000)


def test_an_anthropic_stream_reads_well_on_openais_wire() -> None:
    """Reasoning, text, call and usage arrive; signatures, which only Anthropic understands, do not."""
    writer = OPENAI.stream_writer(ChatRequest(model="m", messages=()))
    events = read_stream(ANTHROPIC_NOW.stream_reader(), ANTHROPIC_STREAM)
    written = b"".join(writer.write(event) for event in events) + writer.end()
    answer = accumulate(read_stream(OPENAI.stream_reader(), written))
    assert answer.choices[0].parts == (
        Reasoning(text="Let me see"),
        Text(text="Checking."),
        ToolUse(id="toolu_1", name="f", arguments='{"x": 1}'),
    )
    assert (answer.usage.input_tokens, answer.usage.cache_read_tokens) == (1120, 1000)
    assert b"EqQB" not in written


def test_an_error_inside_an_anthropic_stream_is_an_event() -> None:
    """`event: error` says which kind it is."""
    frame = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    assert ANTHROPIC.stream_reader().read(frame) == [StreamFailed(message="Overloaded", code="overloaded_error")]


@pytest.mark.parametrize(
    ("reason", "read"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("later_invention", "stop"),
    ],
)
def test_stop_reasons_are_read(reason: str, read: str) -> None:
    """Each of Anthropic's reasons has a neutral one; one that is not known yet is a normal end."""
    body: dict[str, Any] = {"id": "m", "model": "c", "content": [], "stop_reason": reason, "usage": {"input_tokens": 1}}
    assert ANTHROPIC.read_response(msgspec.json.encode(body)).choices[0].finish_reason == read


def test_a_refusal_is_a_stop_reason_on_anthropics_wire() -> None:
    """OpenAI's refusal text becomes text with the stop reason `refusal`."""
    answer = OPENAI.read_response(_answer(message={"content": None, "refusal": "I will not."}))
    body = msgspec.json.decode(ANTHROPIC.write_response(answer))
    assert (body["content"][0]["text"], body["stop_reason"]) == ("I will not.", "refusal")


def test_embeddings_are_summed_up() -> None:
    """Only the usage and the model are read of an answer full of vectors."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.25] * 1000}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    body = msgspec.json.encode({"object": "list", "data": data, "model": "e", "usage": usage})
    summary = read_embeddings_summary(body)
    assert (summary.model, summary.usage) == ("e", Usage(input_tokens=8))
    with pytest.raises(ProviderError):
        read_embeddings_summary(b'{"error": "x"}')


def test_no_events_are_an_empty_answer() -> None:
    """A stream that broke before it said anything is an answer of which nothing is known."""
    answer = accumulate([])
    assert answer == ChatResponse(
        id="", model="", created_s=0, choices=(Choice(index=0, parts=(), finish_reason=None),)
    )
    assert summarize(answer).finish_reasons == ()


def test_the_last_usage_counts() -> None:
    """Servers that report usage again and again mean the last."""
    events = [UsageReported(usage=Usage(output_tokens=count)) for count in (1, 2, 3)]
    assert accumulate(events).usage.output_tokens == 3


def test_signatures_close_their_thinking() -> None:
    """Two thoughts, each with its signature, stay two parts."""
    events = [
        ReasoningDelta(text="a"),
        ReasoningDelta(signature="s1"),
        ReasoningDelta(text="b"),
        ReasoningDelta(signature="s2"),
    ]
    assert accumulate(events).choices[0].parts == (
        Reasoning(text="a", signature="s1"),
        Reasoning(text="b", signature="s2"),
    )
