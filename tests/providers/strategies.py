"""Owns Hypothesis strategies for chats: requests that one dialect can express whole, answers, and their streams."""

from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from backstay.core.chat import (
    Audio,
    ChatEvent,
    ChatRequest,
    ChatResponse,
    Choice,
    Document,
    Finished,
    FinishReason,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.usage import Usage

T = TypeVar("T")

some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Enough examples to hit every branch of the strategies below; each one is a whole chat."""

words = st.text(min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
base64_texts = st.sampled_from(["AAAA", "aGVsbG8=", "JVBERi0xLjQ="])
urls = st.sampled_from(["https://example.com/cat.png", "http://127.0.0.1/a?b=c"])
json_objects = st.dictionaries(names, st.integers(-5, 5) | words | st.booleans() | st.none(), max_size=3)
schemas = st.dictionaries(names, json_objects, max_size=2).map(
    lambda properties: {"type": "object", "properties": properties}
)
fractions = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
counts = st.integers(0, 10_000)


def optional(values: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | values


def lists(values: st.SearchStrategy[T], *, least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(values, min_size=least, max_size=most).map(tuple)


def _parts(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.tuples(*strategies).map(lambda groups: tuple(part for group in groups for part in group))


json_texts = json_objects.map(lambda value: msgspec.json.encode(value).decode())

# OpenAI -------------------------------------------------------------------------------------------------------------

_texts = st.builds(Text, text=words)
_details = optional(st.sampled_from(["low", "high", "auto"]))
_images = st.one_of(
    st.builds(Image, url=urls, detail=_details),
    st.builds(Image, data=base64_texts, media_type=st.sampled_from(["image/png", "image/jpeg"]), detail=_details),
)
_files = st.one_of(
    st.builds(Document, data=base64_texts, media_type=st.just("application/pdf"), name=words),
    st.builds(Document, file_id=st.just("file-abc")),
)
_audio = st.builds(Audio, data=base64_texts, format=st.sampled_from(["wav", "mp3"]))
_openai_user_parts = lists(_texts | _images | _files | _audio, least=1)
_openai_tool_uses = lists(st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": ')))
_openai_assistant_parts = _parts(lists(_texts), lists(st.builds(Refusal, text=words), most=1), _openai_tool_uses)
_openai_messages = st.one_of(
    st.builds(Message, role=st.sampled_from(["system", "developer"]), parts=lists(_texts, least=1)),
    st.builds(Message, role=st.just("user"), parts=_openai_user_parts, name=optional(names)),
    st.builds(Message, role=st.just("assistant"), parts=_openai_assistant_parts.filter(bool)),
    st.builds(
        Message,
        role=st.just("tool"),
        parts=st.builds(ToolResult, tool_use_id=names, parts=lists(_texts, least=1)).map(lambda part: (part,)),
    ),
)
_last_messages = st.builds(Message, role=st.just("user"), parts=lists(_texts, least=1))
_tools = lists(
    st.builds(Tool, name=names, description=optional(words), schema=schemas, strict=optional(st.booleans())), least=1
)
_tool_choices = st.one_of(
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "none", "any"])),
    st.builds(ToolChoice, mode=st.just("tool"), name=names),
)
_output_formats = st.one_of(
    st.just(OutputFormat()),
    st.builds(OutputFormat, schema=schemas, name=names, description=optional(words), strict=optional(st.booleans())),
)


@st.composite
def openai_requests(draw: st.DrawFn) -> ChatRequest:
    """Requests that OpenAI's dialect can express whole."""
    tools = draw(st.just(()) | _tools)
    stream = draw(st.booleans())
    return ChatRequest(
        model=draw(names),
        messages=(*draw(lists(_openai_messages, most=4)), draw(_last_messages)),
        stream=stream,
        stream_usage=stream and draw(st.booleans()),
        max_output_tokens=draw(optional(st.integers(1, 9999))),
        temperature=draw(optional(fractions)),
        top_p=draw(optional(fractions)),
        frequency_penalty=draw(optional(fractions)),
        presence_penalty=draw(optional(fractions)),
        logit_bias=draw(optional(st.just({"50256": -100.0}))),
        stop=draw(lists(words)),
        seed=draw(optional(counts)),
        candidates=draw(st.integers(1, 3)),
        logprobs=draw(st.booleans()),
        top_logprobs=draw(optional(st.integers(1, 20))),
        tools=tools,
        tool_choice=draw(optional(_tool_choices)) if tools else None,
        parallel_tool_calls=draw(optional(st.booleans())) if tools else None,
        output_format=draw(optional(_output_formats)),
        reasoning_effort=draw(optional(st.sampled_from(["none", "minimal", "low", "high", "max"]))),
        user=draw(optional(words)),
        metadata=draw(optional(st.just({"team": "blue"}))),
        service_tier=draw(optional(st.sampled_from(["auto", "default", "flex"]))),
        extras=draw(st.sampled_from([{}, {"verbosity": "low"}, {"store": True, "prompt_cache_key": "k"}])),
    )


# Anthropic ----------------------------------------------------------------------------------------------------------

_caches = optional(st.sampled_from(["5m", "1h"]))
_cached_texts = st.builds(Text, text=words, cache=_caches)
_blocks_images = st.one_of(
    st.builds(Image, url=urls, cache=_caches),
    st.builds(Image, data=base64_texts, media_type=st.just("image/webp"), cache=_caches),
)
_documents = st.one_of(
    st.builds(Document, data=base64_texts, media_type=st.just("application/pdf"), name=optional(words), cache=_caches),
    st.builds(Document, text=words, media_type=st.just("text/plain"), name=optional(words), cache=_caches),
    st.builds(Document, url=urls),
    st.builds(Document, file_id=st.just("file_011CNha8iCJcU1wXNR6q4V8w")),
)
_tool_results = st.builds(
    ToolResult,
    tool_use_id=names,
    parts=lists(_cached_texts | _blocks_images | _documents),
    is_error=st.booleans(),
    cache=_caches,
)
_anthropic_user_parts = _parts(lists(_tool_results, most=2), lists(_cached_texts | _blocks_images | _documents))
_anthropic_assistant_parts = lists(
    st.one_of(
        _cached_texts,
        st.builds(Reasoning, text=words, signature=base64_texts),
        st.builds(Reasoning, redacted=base64_texts),
        st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": '), cache=_caches),
    ),
    least=1,
)
_user_turns = st.builds(Message, role=st.just("user"), parts=_anthropic_user_parts.filter(bool))
_assistant_turns = st.builds(Message, role=st.just("assistant"), parts=_anthropic_assistant_parts)
_systems = st.builds(Message, role=st.just("system"), parts=lists(_cached_texts, least=1))
_anthropic_tools = lists(
    st.builds(
        Tool, name=names, description=optional(words), schema=schemas, strict=optional(st.booleans()), cache=_caches
    ),
    least=1,
)


@st.composite
def anthropic_requests(draw: st.DrawFn) -> ChatRequest:
    """Requests that Anthropic's dialect can express whole."""
    turns = draw(lists(st.tuples(_user_turns, _assistant_turns), most=2))
    tools = draw(st.just(()) | _anthropic_tools)
    choice = draw(optional(_tool_choices)) if tools else None
    budget = draw(optional(st.integers(1024, 2048)))
    efforts = ["low", "medium", "xhigh"] if budget else ["none", "low", "max"]
    return ChatRequest(
        model=draw(names),
        messages=(*draw(lists(_systems, most=1)), *(turn for pair in turns for turn in pair), draw(_user_turns)),
        stream=draw(st.booleans()),
        max_output_tokens=draw(st.integers(1, 9999)),
        temperature=draw(optional(fractions)),
        top_p=draw(optional(fractions)),
        top_k=draw(optional(st.integers(1, 50))),
        stop=draw(lists(words)),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=draw(optional(st.booleans())) if choice and choice.mode != "none" else None,
        output_format=draw(optional(st.builds(OutputFormat, schema=schemas, strict=st.just(True)))),
        reasoning_effort=draw(optional(st.sampled_from(efforts))),
        reasoning_budget_tokens=budget,
        user=draw(optional(words)),
        service_tier=draw(optional(st.sampled_from(["auto", "default"]))),
        caller_dialect="anthropic",
        extras=draw(st.sampled_from([{}, {"speed": "fast"}, {"container": "c1", "inference_geo": "eu"}])),
    )


# Bedrock ------------------------------------------------------------------------------------------------------------

_said = words.filter(str.strip)
_bedrock_texts = st.builds(Text, text=_said, cache=_caches)
_s3_urls = st.sampled_from(["s3://bucket/cat.png", "s3://bucket/cat.webp"])
_bedrock_images = st.one_of(
    st.builds(Image, url=_s3_urls, cache=_caches),
    st.builds(Image, data=base64_texts, media_type=st.sampled_from(["image/png", "image/jpeg"]), cache=_caches),
)
_document_types = st.sampled_from(["application/pdf", "text/csv", "text/markdown"])


def _bedrock_documents(draw: st.DrawFn, number: int) -> Document:
    """A document whose name is the only one of its kind in its request."""
    name = f"paper ({number})"
    return draw(
        st.one_of(
            st.builds(Document, data=base64_texts, media_type=_document_types, name=st.just(name), cache=_caches),
            st.builds(Document, text=_said, media_type=st.just("text/plain"), name=st.just(name), cache=_caches),
            st.builds(
                Document, url=st.just("s3://bucket/a.pdf"), media_type=st.just("application/pdf"), name=st.just(name)
            ),
        )
    )


_bedrock_results = st.builds(
    ToolResult,
    tool_use_id=names,
    parts=lists(st.builds(Text, text=_said) | st.builds(Image, url=_s3_urls)),
    is_error=st.booleans(),
    cache=_caches,
)
_bedrock_user_parts = _parts(
    lists(_bedrock_results, most=2),
    lists(_bedrock_texts | _bedrock_images | st.builds(Audio, data=base64_texts, format=st.just("wav"))),
)
_bedrock_assistant_parts = lists(
    st.one_of(
        _bedrock_texts,
        st.builds(Reasoning, text=words, signature=base64_texts),
        st.builds(Reasoning, redacted=base64_texts),
        st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": '), cache=_caches),
    ),
    least=1,
)
_bedrock_systems = st.builds(Message, role=st.just("system"), parts=lists(_bedrock_texts, least=1))
_bedrock_tools = lists(
    st.builds(
        Tool,
        name=names,
        description=optional(words),
        schema=schemas,
        strict=optional(st.booleans()),
        cache=_caches,
    ),
    least=1,
)
_bedrock_choices = st.one_of(
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "any"])),
    st.builds(ToolChoice, mode=st.just("tool"), name=names),
)
_bedrock_formats = st.builds(
    OutputFormat, schema=schemas, name=optional(names), description=optional(words), strict=st.just(True)
)


@st.composite
def bedrock_requests(draw: st.DrawFn) -> ChatRequest:
    """Requests that Bedrock's dialect can express whole, to a model of Anthropic's, of Amazon's or of others."""
    model = draw(st.sampled_from(["us.anthropic.claude-opus-5", "us.amazon.nova-2-lite-v1:0", "meta.llama3-1-8b"]))
    claude, nova = "claude" in model, "nova" in model
    user = st.builds(Message, role=st.just("user"), parts=_bedrock_user_parts.filter(bool))
    turns = draw(
        lists(st.tuples(user, st.builds(Message, role=st.just("assistant"), parts=_bedrock_assistant_parts)), most=2)
    )
    last = Message(
        role="user",
        parts=(*draw(_bedrock_user_parts), *(_bedrock_documents(draw, n) for n in range(draw(st.integers(0, 2)))))
        or (Text(text="hi"),),
    )
    tools = draw(st.just(()) | _bedrock_tools)
    budget = draw(optional(st.integers(1024, 2048))) if claude else None
    efforts = ["low", "high", *(["none"] if nova or (claude and budget is None) else []), *([] if nova else ["max"])]
    return ChatRequest(
        model=model,
        messages=(*draw(lists(_bedrock_systems, most=1)), *(turn for pair in turns for turn in pair), last),
        stream=draw(st.booleans()),
        max_output_tokens=draw(optional(st.integers(1, 9999))),
        temperature=draw(optional(fractions)),
        top_p=draw(optional(fractions)),
        top_k=draw(optional(st.integers(1, 50))) if claude or nova else None,
        stop=draw(lists(words)),
        tools=tools,
        tool_choice=draw(optional(_bedrock_choices)) if tools else None,
        parallel_tool_calls=draw(st.sampled_from([None, False])) if claude and tools else None,
        output_format=draw(optional(_bedrock_formats)),
        reasoning_effort=draw(optional(st.sampled_from(efforts))),
        reasoning_budget_tokens=budget,
        user=draw(optional(names)),
        metadata=draw(optional(st.just({"team": "blue"}))),
        service_tier=draw(optional(st.sampled_from(["default", "flex", "priority"]))),
        extras=draw(st.sampled_from([{}, {"performanceConfig": {"latency": "optimized"}}])),
        caller_dialect="bedrock",
    )


# Gemini -------------------------------------------------------------------------------------------------------------

_signatures = base64_texts.map(lambda text: f"gemini:{text}")
_gemini_images = st.builds(Image, data=base64_texts, media_type=st.sampled_from(["image/png", "image/webp"])) | st.just(
    Image(url="https://example.com/cat.png", media_type="image/png")
)
_gemini_documents = st.builds(Document, data=base64_texts, media_type=st.just("application/pdf")) | st.just(
    Document(url="gs://bucket/a.pdf", media_type="application/pdf")
)
_gemini_user_turns = st.builds(
    Message, role=st.just("user"), parts=lists(_texts | _gemini_images | _gemini_documents | _audio, least=1)
)
_gemini_thoughts = st.builds(Reasoning, text=words | st.just(""), signature=_signatures)


@st.composite
def _gemini_tool_turns(draw: st.DrawFn) -> tuple[Message, Message]:
    """A model's turn, the first of its calls signed, and the results of the calls."""
    calls = draw(lists(st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": ')), least=1))
    calls = tuple({call.id: call for call in calls}.values())
    said = draw(_parts(lists(_texts, most=2), lists(_gemini_thoughts, least=1, most=2)))
    results = tuple(
        ToolResult(
            tool_use_id=call.id,
            parts=(*draw(lists(_texts, least=1, most=1)), *draw(lists(_gemini_images, most=1))),
            is_error=draw(st.booleans()),
        )
        for call in calls
    )
    asked = draw(lists(_texts, most=1))
    return (
        Message(role="assistant", parts=(*said, *calls)),
        Message(role="user", parts=(*results, *asked)),
    )


@st.composite
def gemini_requests(draw: st.DrawFn) -> ChatRequest:
    """Requests that Gemini's dialect can express whole."""
    pairs = draw(lists(_gemini_tool_turns(), most=2))
    last = draw(
        st.tuples(st.builds(Message, role=st.just("assistant"), parts=lists(_texts, least=1)), _gemini_user_turns)
    )
    strict = draw(st.sampled_from([True, None]))
    tools = draw(
        st.just(())
        | lists(
            st.builds(Tool, name=names, description=optional(words), schema=schemas, strict=st.just(strict)), least=1
        )
    )
    choice = None if strict or not tools else draw(optional(_tool_choices))
    model, efforts = draw(
        st.sampled_from([("gemini-3.5-flash", ["minimal", "low", "medium", "high"]), ("gemini-2.5-flash", ["none"])])
    )
    budget = draw(optional(st.integers(1, 2048)))
    stream = draw(st.booleans())
    return ChatRequest(
        model=model,
        messages=(
            *draw(lists(st.builds(Message, role=st.just("system"), parts=lists(_texts, least=1)), most=1)),
            draw(_gemini_user_turns),
            *(turn for pair in pairs for turn in pair),
            *last,
        ),
        stream=stream,
        max_output_tokens=draw(optional(st.integers(1, 9999))),
        temperature=draw(optional(fractions)),
        top_p=draw(optional(fractions)),
        top_k=draw(optional(st.integers(1, 50))),
        frequency_penalty=draw(optional(fractions)),
        presence_penalty=draw(optional(fractions)),
        stop=draw(lists(words)),
        seed=draw(optional(counts)),
        candidates=1 if stream else draw(st.integers(1, 3)),
        logprobs=draw(st.booleans()),
        top_logprobs=draw(optional(st.integers(1, 20))),
        tools=tools,
        tool_choice=choice,
        output_format=draw(optional(st.just(OutputFormat()) | st.builds(OutputFormat, schema=schemas))),
        reasoning_effort=None if budget else draw(optional(st.sampled_from(efforts))),
        reasoning_budget_tokens=budget,
        service_tier=draw(optional(st.sampled_from(["default", "flex", "priority"]))),
        caller_dialect="gemini",
        extras=draw(st.sampled_from([{}, {"cachedContent": "cachedContents/1", "labels": {"team": "blue"}}])),
    )


# Answers ------------------------------------------------------------------------------------------------------------

_reasons: st.SearchStrategy[FinishReason] = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


@st.composite
def openai_answers(draw: st.DrawFn) -> ChatResponse:
    """Answers that OpenAI's dialect can express whole."""
    parts = _parts(
        lists(st.builds(Reasoning, text=words), most=1),
        lists(_texts, most=1),
        lists(st.builds(Refusal, text=words), most=1),
        _openai_tool_uses,
    )
    choices = [
        Choice(index=index, parts=draw(parts), finish_reason=draw(_reasons)) for index in range(draw(st.integers(1, 2)))
    ]
    usage = Usage(
        input_tokens=draw(counts) + 100,
        output_tokens=draw(counts) + 100,
        cache_read_tokens=draw(st.integers(0, 50)),
        cache_write_tokens=draw(st.integers(0, 50)),
        reasoning_tokens=draw(st.integers(0, 50)),
        input_audio_tokens=draw(st.integers(0, 9)),
        output_audio_tokens=draw(st.integers(0, 9)),
    )
    return ChatResponse(
        id=draw(names),
        model=draw(names),
        created_s=draw(st.integers(0, 2**31)),
        choices=tuple(choices),
        usage=usage,
        service_tier=draw(optional(st.sampled_from(["default", "priority"]))),
        system_fingerprint=draw(optional(names)),
    )


@st.composite
def anthropic_answers(draw: st.DrawFn, *, created_s: int) -> ChatResponse:
    """Answers that Anthropic's dialect can express whole, made at ``created_s``."""
    parts = st.one_of(
        _texts,
        st.builds(Reasoning, text=words, signature=base64_texts),
        st.builds(Reasoning, redacted=base64_texts),
        st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": ')),
    )
    reasons: list[FinishReason] = ["stop", "length", "tool_calls", "refusal", "pause", "stop_sequence"]
    reason = draw(st.sampled_from(reasons))
    written = draw(st.integers(0, 50))
    usage = Usage(
        input_tokens=draw(counts) + 100,
        output_tokens=draw(counts) + 100,
        cache_read_tokens=draw(st.integers(0, 50)),
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        reasoning_tokens=draw(st.integers(0, 50)),
        web_searches=draw(st.integers(0, 2)),
    )
    choice = Choice(
        index=0,
        parts=draw(lists(parts)),
        finish_reason=reason,
        stop_sequence=draw(words) if reason == "stop_sequence" else None,
    )
    return ChatResponse(
        id=draw(names),
        model=draw(names),
        created_s=created_s,
        choices=(choice,),
        usage=usage,
        service_tier=draw(optional(st.sampled_from(["default", "priority", "batch"]))),
    )


@st.composite
def bedrock_answers(draw: st.DrawFn, *, created_s: int) -> ChatResponse:
    """Answers that Bedrock's dialect can express whole: they name neither themselves nor their model."""
    parts = st.one_of(
        st.builds(Reasoning, text=words, signature=words),
        st.builds(Reasoning, redacted=base64_texts),
        st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": ')),
    )
    reasons: list[FinishReason] = ["stop", "length", "tool_calls", "content_filter", "stop_sequence", "error"]
    reason = draw(st.sampled_from(reasons))
    written = draw(st.integers(0, 50))
    usage = Usage(
        input_tokens=draw(counts) + 100,
        output_tokens=draw(counts),
        cache_read_tokens=draw(st.integers(0, 50)),
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
    )
    choice = Choice(
        index=0,
        parts=(*draw(lists(_texts, most=1)), *draw(lists(parts))),
        finish_reason=reason,
        stop_sequence=draw(words) if reason == "stop_sequence" else None,
    )
    return ChatResponse(
        id="",
        model="",
        created_s=created_s,
        choices=(choice,),
        usage=usage,
        service_tier=draw(optional(st.sampled_from(["default", "priority"]))),
    )


@st.composite
def gemini_answers(draw: st.DrawFn, *, created_s: int) -> ChatResponse:
    """Answers that Gemini's dialect can express whole, made at ``created_s``."""
    calls = draw(lists(st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": '))))
    thoughts = lists(st.builds(Reasoning, text=words, signature=_signatures), most=1)
    parts = (*draw(thoughts), *draw(lists(_texts, most=1)), *draw(thoughts), *calls)
    reasons: list[FinishReason] = ["length", "content_filter", "tool_calls" if calls else "stop"]
    usage = Usage(
        input_tokens=draw(counts) + 100,
        output_tokens=draw(counts) + 100,
        cache_read_tokens=draw(st.integers(1, 50)),
        reasoning_tokens=draw(st.integers(0, 50)),
        input_audio_tokens=draw(st.integers(0, 9)),
        output_audio_tokens=draw(st.integers(0, 9)),
        cache_audio_read_tokens=draw(st.integers(0, 1)),
    )
    return ChatResponse(
        id=draw(names),
        model=draw(names),
        created_s=created_s,
        choices=(Choice(index=0, parts=parts, finish_reason=draw(st.sampled_from(reasons))),),
        usage=usage,
        service_tier=draw(optional(st.sampled_from(["default", "priority", "flex"]))),
    )


def chunks_of(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def events_of(response: ChatResponse, *, size: int = 2, interleave: bool = False) -> list[ChatEvent]:
    """Take an answer apart into the events of a stream, its texts in pieces of ``size`` characters."""
    events: list[ChatEvent] = [Started(id=response.id, model=response.model, created_s=response.created_s)]
    for choice in response.choices:
        tools: list[list[ChatEvent]] = []
        for part in choice.parts:
            if isinstance(part, ToolUse):
                tools.append(_tool_events(part, len(tools), choice.index, size))
            else:
                events += _part_events(part, choice.index, size)
        events += _woven(tools) if interleave else [event for tool in tools for event in tool]
        assert choice.finish_reason is not None
        events.append(Finished(reason=choice.finish_reason, stop_sequence=choice.stop_sequence, choice=choice.index))
    return [*events, UsageReported(usage=response.usage, service_tier=response.service_tier)]


def _tool_events(part: ToolUse, index: int, choice: int, size: int) -> list[ChatEvent]:
    deltas = [ToolUseDelta(index=index, arguments=piece, choice=choice) for piece in chunks_of(part.arguments, size)]
    return [ToolUseStarted(index=index, id=part.id, name=part.name, choice=choice), *deltas]


def _part_events(part: Part, choice: int, size: int) -> list[ChatEvent]:
    match part:
        case Text():
            return [TextDelta(text=piece, choice=choice) for piece in chunks_of(part.text, size)]
        case Refusal():
            return [RefusalDelta(text=piece, choice=choice) for piece in chunks_of(part.text, size)]
        case Reasoning(redacted=str() as data):
            return [ReasoningDelta(redacted=data, choice=choice)]
        case Reasoning():
            events: list[ChatEvent] = [
                ReasoningDelta(text=piece, choice=choice) for piece in chunks_of(part.text, size)
            ]
            if part.signature is not None:
                events.append(ReasoningDelta(signature=part.signature, choice=choice))
            return events
        case _:
            raise TypeError(part)


def _woven(tools: list[list[ChatEvent]]) -> list[ChatEvent]:
    """Take from each tool's events in turn, as a server does that runs parallel calls side by side."""
    woven: list[ChatEvent] = []
    queues = [list(tool) for tool in tools]
    while any(queues):
        woven += [queue.pop(0) for queue in queues if queue]
    return woven
