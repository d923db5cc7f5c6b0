"""Streams across dialects, as the official SDKs put them together on the caller's side."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web
from dialect_checks import ANTHROPIC_NOW, read_stream
from test_recorded_answers import ANTHROPIC_STREAM

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.usage import Usage
from backstay.providers import ANTHROPIC, OPENAI, Dialect

ANSWER: Sequence[ChatEvent] = (
    Started(id="c1", model="m", created_s=7),
    ReasoningDelta(text="hm"),
    TextDelta(text="Let me "),
    TextDelta(text="look."),
    ToolUseStarted(index=0, id="a", name="f"),
    ToolUseStarted(index=1, id="b", name="g"),
    ToolUseDelta(index=1, arguments='{"y":'),
    ToolUseDelta(index=0, arguments='{"x":1}'),
    ToolUseDelta(index=1, arguments="2}"),
    Finished(reason="tool_calls"),
    UsageReported(usage=Usage(input_tokens=30, output_tokens=12, cache_read_tokens=10)),
)


@asynccontextmanager
async def _serve(dialect: Dialect, events: Sequence[ChatEvent]) -> AsyncGenerator[str]:
    """Serve one stream, written anew in a dialect."""

    async def answer(request: web.Request) -> web.StreamResponse:
        writer = dialect.stream_writer(ChatRequest(model="m", messages=()))
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(writer.write(event))
        await response.write(writer.end())
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _openai_sdk(events: Sequence[ChatEvent]) -> Any:
    async with _serve(OPENAI, events) as url, openai.AsyncOpenAI(base_url=url, api_key="k") as client:
        question: Any = {"role": "user", "content": "hi"}
        async with client.chat.completions.stream(
            model="m", messages=[question], stream_options={"include_usage": True}
        ) as stream:
            return await stream.get_final_completion()


async def _anthropic_sdk(events: Sequence[ChatEvent]) -> Any:
    async with _serve(ANTHROPIC, events) as url, anthropic.AsyncAnthropic(base_url=url, api_key="k") as client:
        question: Any = {"role": "user", "content": "hi"}
        async with client.messages.stream(model="m", max_tokens=9, messages=[question]) as stream:
            return await stream.get_final_message()


async def test_anthropics_stream_on_openais_wire() -> None:
    """A recorded stream of Anthropic's is a whole completion to OpenAI's SDK."""
    completion = await _openai_sdk(read_stream(ANTHROPIC_NOW.stream_reader(), ANTHROPIC_STREAM))
    choice = completion.choices[0]
    assert (completion.id, completion.model, choice.finish_reason) == ("msg_1", "claude", "tool_calls")
    assert choice.message.content == "Checking."
    assert [(call.id, call.function.name) for call in choice.message.tool_calls] == [("toolu_1", "f")]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"x": 1}
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (1120, 89)
    assert completion.usage.prompt_tokens_details.cached_tokens == 1000


async def test_interleaved_calls_on_openais_wire() -> None:
    """Parallel calls arrive side by side, each whole."""
    message = (await _openai_sdk(ANSWER)).choices[0].message
    assert [call.function.arguments for call in message.tool_calls] == ['{"x":1}', '{"y":2}']
    assert message.content == "Let me look."


async def test_interleaved_calls_on_anthropics_wire() -> None:
    """Parallel calls arrive one after the other, each whole; usage is counted Anthropic's way."""
    message = await _anthropic_sdk(ANSWER)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.input for block in message.content[2:]] == [{"x": 1}, {"y": 2}]
    assert (message.content[0].thinking, message.content[1].text) == ("hm", "Let me look.")
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (20, 10, 12)


@pytest.mark.parametrize("arguments", ["", "{}"])
async def test_calls_without_arguments_on_anthropics_wire(arguments: str) -> None:
    """A tool that takes nothing has an empty input, however the model said so."""
    events: list[ChatEvent] = [Started(id="c", model="m", created_s=0)]
    for index in (0, 1):
        events.append(ToolUseStarted(index=index, id=f"t{index}", name="f"))
        events += [ToolUseDelta(index=index, arguments=arguments)] if arguments else []
    message = await _anthropic_sdk([*events, Finished(reason="tool_calls")])
    assert [(block.id, block.input) for block in message.content] == [("t0", {}), ("t1", {})]


async def test_a_refusal_on_each_wire() -> None:
    """A streamed refusal is text with its own stop reason for one SDK, a refusal for the other."""
    events: list[ChatEvent] = [
        Started(id="c", model="m", created_s=0),
        RefusalDelta(text="I "),
        RefusalDelta(text="won't."),
        Finished(reason="stop"),
    ]
    message = await _anthropic_sdk(events)
    assert (message.content[0].text, message.stop_reason) == ("I won't.", "refusal")
    assert (await _openai_sdk(events)).choices[0].message.refusal == "I won't."


async def test_an_empty_answer_on_each_wire() -> None:
    """An answer of no words is still a whole answer."""
    events: list[ChatEvent] = [Started(id="c", model="m", created_s=0), Finished(reason="stop")]
    assert (await _anthropic_sdk(events)).content == []
    assert (await _openai_sdk(events)).choices[0].message.content == ""
