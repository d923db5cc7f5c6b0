"""Owns Hypothesis strategies for OpenAI's responses API: requests and answers that it can express whole."""

from typing import Any

from hypothesis import strategies as st
from strategies import (
    base64_texts,
    counts,
    fractions,
    json_texts,
    lists,
    names,
    optional,
    schemas,
    urls,
    words,
)

from backstay.core.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Document,
    FinishReason,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from backstay.core.usage import Usage

_texts = st.builds(Text, text=words)
_details = st.sampled_from(["low", "high", "auto"])
_images = st.one_of(
    st.builds(Image, url=urls, detail=_details),
    st.builds(Image, data=base64_texts, media_type=st.sampled_from(["image/png", "image/jpeg"]), detail=_details),
)
_files = st.one_of(
    st.builds(Document, data=base64_texts, media_type=st.just("application/pdf"), name=words),
    st.builds(Document, url=urls),
    st.builds(Document, file_id=st.just("file-abc")),
)
_thoughts = st.one_of(
    st.builds(Reasoning, text=words, signature=st.just("rs_1:gAAAA")),
    st.builds(Reasoning, signature=st.just("rs_2:gBBBB")),
)
_said = _texts | st.builds(Refusal, text=words)
_systems = st.builds(Message, role=st.sampled_from(["system", "developer"]), parts=lists(_texts, least=1))
_users = st.builds(Message, role=st.just("user"), parts=lists(_texts | _images | _files, least=1))


@st.composite
def _tool_turns(draw: st.DrawFn) -> tuple[Message, ...]:
    """What the assistant says, with calls of tools, and all of their results."""
    ids = draw(st.lists(names, max_size=2, unique=True))
    uses = tuple(ToolUse(id=each, name=draw(names), arguments=draw(json_texts | st.just('{"torn": '))) for each in ids)
    spoken = draw(lists(_said, least=0 if uses else 1))
    results = lists(_texts | _images, least=1)
    answers = tuple(Message(role="tool", parts=(ToolResult(tool_use_id=each, parts=draw(results)),)) for each in ids)
    return (Message(role="assistant", parts=(*draw(lists(_thoughts, most=1)), *spoken, *uses)), *answers)


_turns = st.tuples(_users, _tool_turns()).map(lambda turn: (turn[0], *turn[1]))
_tools = lists(st.builds(Tool, name=names, description=optional(words), schema=schemas, strict=st.booleans()), least=1)
_choices = st.one_of(
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "none", "any"])),
    st.builds(ToolChoice, mode=st.just("tool"), name=names),
)
_formats = st.one_of(
    st.just(OutputFormat()),
    st.builds(OutputFormat, schema=schemas, name=names, description=optional(words), strict=optional(st.booleans())),
)


@st.composite
def responses_requests(draw: st.DrawFn) -> ChatRequest:
    """Requests that the responses API can express whole."""
    turns = draw(lists(_turns, most=2))
    tools = draw(st.just(()) | _tools)
    return ChatRequest(
        model=draw(names),
        messages=(*draw(lists(_systems, most=2)), *(message for turn in turns for message in turn), draw(_users)),
        stream=draw(st.booleans()),
        max_output_tokens=draw(optional(st.integers(16, 9999))),
        temperature=draw(optional(fractions)),
        top_p=draw(optional(fractions)),
        logprobs=draw(st.booleans()),
        top_logprobs=draw(optional(st.integers(1, 20))),
        tools=tools,
        tool_choice=draw(optional(_choices)) if tools else None,
        parallel_tool_calls=draw(optional(st.booleans())) if tools else None,
        output_format=draw(optional(_formats)),
        reasoning_effort=draw(optional(st.sampled_from(["none", "minimal", "low", "high", "max"]))),
        user=draw(optional(words)),
        metadata=draw(optional(st.just({"team": "blue"}))),
        service_tier=draw(optional(st.sampled_from(["auto", "default", "flex"]))),
        extras=draw(st.sampled_from([dict[str, Any](), {"verbosity": "low"}])),
    )


@st.composite
def responses_answers(draw: st.DrawFn) -> ChatResponse:
    """Answers that the responses API can express whole: a refusal is one, and calls of tools end a turn."""
    thoughts = st.one_of(
        st.builds(Reasoning, text=words),
        st.builds(Reasoning, text=words, signature=words.filter(lambda text: not text.startswith("rs_"))),
        st.builds(Reasoning, redacted=base64_texts),
    )
    parts: list[Part] = [*draw(lists(thoughts, most=1)), *draw(lists(_texts, most=1))]
    parts += draw(lists(st.builds(Refusal, text=words), most=1))
    parts += draw(lists(st.builds(ToolUse, id=names, name=names, arguments=json_texts | st.just('{"torn": '))))
    ended: FinishReason = "refusal" if any(isinstance(part, Refusal) for part in parts) else "stop"
    if any(isinstance(part, ToolUse) for part in parts):
        ended = "tool_calls"
    usage = Usage(
        input_tokens=draw(counts) + 100,
        output_tokens=draw(counts) + 100,
        cache_read_tokens=draw(st.integers(0, 50)),
        cache_write_tokens=draw(st.integers(0, 50)),
        reasoning_tokens=draw(st.integers(0, 50)),
    )
    reasons: list[FinishReason] = [ended, "length"]
    if not any(isinstance(part, Refusal) for part in parts):  # which is an answer, and no filter's work
        reasons.append("content_filter")
    return ChatResponse(
        id="resp_" + draw(names),
        model=draw(names),
        created_s=draw(st.integers(0, 2**31)),
        choices=(Choice(index=0, parts=tuple(parts), finish_reason=draw(st.sampled_from(reasons))),),
        usage=usage,
        service_tier=draw(optional(st.sampled_from(["default", "priority"]))),
    )
