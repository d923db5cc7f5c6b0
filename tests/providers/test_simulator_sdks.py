"""The vendors' own SDKs against the simulator's sockets: answers, streams, tools, JSON, embeddings, errors."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from dialect_checks import check_openai_schema
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from backstay.providers.simulator import read_script
from backstay.testing import RunningSimulator, simulator_server

PROMPT: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: ChatCompletionToolParam = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}


class Weather(BaseModel):
    city: str
    degrees: int


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with simulator_server() as running:
        yield running


@pytest.fixture
async def openai_client(simulator: RunningSimulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=simulator.openai_url, api_key="any", max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
async def anthropic_client(simulator: RunningSimulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="any", max_retries=0, timeout=5) as client:
        yield client


async def test_openai_chat_is_valid_by_openais_own_document(openai_client: openai.AsyncOpenAI) -> None:
    """An answer, with several candidates and log probabilities, fits OpenAI's schema."""
    answer = await openai_client.chat.completions.create(
        model="gpt-4o-mini", messages=PROMPT, n=2, logprobs=True, top_logprobs=2
    )
    check_openai_schema("CreateChatCompletionResponse", answer.model_dump(mode="json", exclude_unset=True))
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content


async def test_openai_stream_adds_up(openai_client: openai.AsyncOpenAI) -> None:
    """The pieces of a stream are the text, and usage comes last."""
    stream = await openai_client.chat.completions.create(
        model="m", messages=PROMPT, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith('to "What is the weather in Paris?".')
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == -(-len(text) // 4)
    for chunk in chunks:
        check_openai_schema("CreateChatCompletionStreamResponse", chunk.model_dump(mode="json", exclude_unset=True))


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_tool_call(openai_client: openai.AsyncOpenAI, stream: bool) -> None:
    """The SDK's own accumulation sees one call with arguments that parse."""
    if stream:
        async with openai_client.chat.completions.stream(model="m", messages=PROMPT, tools=[TOOL]) as events:
            answer = await events.get_final_completion()
    else:
        answer = await openai_client.chat.completions.create(model="m", messages=PROMPT, tools=[TOOL])
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert call.function.arguments.startswith('{"city":')


async def test_openai_json_schema(openai_client: openai.AsyncOpenAI) -> None:
    """``parse`` gets an instance of the caller's own class."""
    answer = await openai_client.chat.completions.parse(model="m", messages=PROMPT, response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)


async def test_openai_refusal(openai_client: openai.AsyncOpenAI, simulator: RunningSimulator) -> None:
    """A refusal comes in its own field."""
    simulator.simulation.script = read_script({"faults": [{"kind": "refusal"}]})
    answer = await openai_client.chat.completions.create(model="m", messages=PROMPT)
    assert answer.choices[0].message.refusal == "I'm sorry, but I can't help with that."


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_openai_embeddings(openai_client: openai.AsyncOpenAI, encoding: Any) -> None:
    """Vectors have the dimensions asked for, in both encodings (base64 is the SDK's own default)."""
    answer = await openai_client.embeddings.create(model="e", input=["a", "b"], dimensions=8, encoding_format=encoding)
    assert len(answer.data) == 2
    assert len(answer.data[0].embedding) == (8 if encoding == "float" else 44)
    plain = await openai_client.embeddings.create(model="e", input="a", dimensions=8)
    assert len(plain.data[0].embedding) == 8
    assert plain.usage.prompt_tokens == 1


async def test_anthropic_message(anthropic_client: anthropic.AsyncAnthropic) -> None:
    """An answer has text, a stop reason and usage; the count of tokens agrees with it."""
    answer = await anthropic_client.messages.create(
        model="m", max_tokens=100, messages=[{"role": "user", "content": "What is the weather?"}]
    )
    count = await anthropic_client.messages.count_tokens(
        model="m", messages=[{"role": "user", "content": "What is the weather?"}]
    )
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].type == "text"
    assert answer.usage.input_tokens == count.input_tokens == 5


async def test_anthropic_stream_with_tool(anthropic_client: anthropic.AsyncAnthropic) -> None:
    """The SDK's own accumulation of a stream sees the tool's input as an object."""
    async with anthropic_client.messages.stream(
        model="m",
        max_tokens=100,
        messages=[{"role": "user", "content": "weather?"}],
        tools=[{"name": "get_weather", "input_schema": SCHEMA}],
    ) as events:
        answer = await events.get_final_message()
    assert answer.stop_reason == "tool_use"
    assert answer.content[0].type == "tool_use"
    assert isinstance(answer.content[0].input["city"], str)


async def test_both_list_models(
    openai_client: openai.AsyncOpenAI, anthropic_client: anthropic.AsyncAnthropic, simulator: RunningSimulator
) -> None:
    """Models of the script are listed on both wires."""
    simulator.simulation.script = read_script({"models": {"slow": {"latency_s": 1}}})
    assert [model.id for model in (await openai_client.models.list()).data] == ["sim", "slow"]
    assert [model.id for model in (await anthropic_client.models.list()).data] == ["sim", "slow"]


ERRORS = [
    (400, "BadRequestError"),
    (401, "AuthenticationError"),
    (403, "PermissionDeniedError"),
    (404, "NotFoundError"),
    (422, "UnprocessableEntityError"),
    (429, "RateLimitError"),
    (500, "InternalServerError"),
]


@pytest.mark.parametrize(("status", "name"), ERRORS)
async def test_a_status_raises_the_sdks_own_class(
    openai_client: openai.AsyncOpenAI,
    anthropic_client: anthropic.AsyncAnthropic,
    simulator: RunningSimulator,
    status: int,
    name: str,
) -> None:
    """Each error status raises the class that the vendor's SDK has for it."""
    simulator.simulation.script = read_script({"faults": [{"kind": "status", "status": status}]})
    with pytest.raises(openai.APIStatusError) as raised:
        await openai_client.chat.completions.create(model="m", messages=PROMPT)
    assert type(raised.value) is getattr(openai, name)
    with pytest.raises(anthropic.APIStatusError) as raised_too:
        await anthropic_client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert type(raised_too.value) is getattr(anthropic, name)


@pytest.mark.parametrize("status", [503, 529])
async def test_an_overloaded_vendor_is_a_server_error(
    anthropic_client: anthropic.AsyncAnthropic, simulator: RunningSimulator, status: int
) -> None:
    """Anthropic's SDK sees an overloaded vendor as such, with the status that it sent."""
    simulator.simulation.script = read_script({"faults": [{"kind": "status", "status": status}]})
    with pytest.raises(anthropic.InternalServerError) as raised:
        await anthropic_client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert raised.value.status_code == status


async def test_broken_connections_raise_connection_errors(
    openai_client: openai.AsyncOpenAI, simulator: RunningSimulator
) -> None:
    """A reset is a connection error, a hang a timeout, and a cut stream breaks the iteration."""
    simulator.simulation.script = read_script({"faults": [{"kind": "reset"}]})
    with pytest.raises(openai.APIConnectionError):
        await openai_client.chat.completions.create(model="m", messages=PROMPT)
    simulator.simulation.script = read_script({"faults": [{"kind": "hang"}]})
    with pytest.raises(openai.APITimeoutError):
        await openai_client.chat.completions.create(model="m", messages=PROMPT, timeout=0.3)
    simulator.simulation.script = read_script({"faults": [{"kind": "cut"}]})
    stream = await openai_client.chat.completions.create(model="m", messages=PROMPT, stream=True)
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        async for _ in stream:
            pass


async def test_an_error_event_raises_in_both_streams(
    openai_client: openai.AsyncOpenAI, anthropic_client: anthropic.AsyncAnthropic, simulator: RunningSimulator
) -> None:
    """An error inside a stream is the SDK's own API error, not an end."""
    simulator.simulation.script = read_script({"faults": [{"kind": "error_event", "message": "gone"}]})
    stream = await openai_client.chat.completions.create(model="m", messages=PROMPT, stream=True)
    with pytest.raises(openai.APIError, match="gone"):
        async for _ in stream:
            pass
    with pytest.raises(anthropic.APIError, match="gone"):
        async with anthropic_client.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as events:
            await events.get_final_message()


async def test_the_sdks_retry_after_what_the_simulator_says(simulator: RunningSimulator) -> None:
    """An SDK that may retry waits as told, and reaches the answer when the fault is over."""
    script = read_script(
        {"phases": [{"for_s": 0.3, "faults": [{"kind": "status", "status": 429, "retry_after_s": 0.5}]}]}
    )
    simulator.simulation.script = script
    simulator.simulation.reset()
    async with openai.AsyncOpenAI(base_url=simulator.openai_url, api_key="any", max_retries=2) as client:
        answer = await client.chat.completions.create(model="m", messages=PROMPT)
    assert answer.choices[0].finish_reason == "stop"
    assert simulator.simulation.outcomes == {"status": 1, "answer": 1}


async def test_the_synchronous_sdks_work_too(simulator: RunningSimulator) -> None:
    """Both SDKs' synchronous clients stream, from a thread."""

    def stream_both() -> tuple[str, str]:
        with openai.OpenAI(base_url=simulator.openai_url, api_key="any", max_retries=0) as one:
            chunks = one.chat.completions.create(model="m", messages=PROMPT, stream=True)
            first = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        with anthropic.Anthropic(base_url=simulator.url, api_key="any", max_retries=0) as other:
            with other.messages.stream(
                model="m", max_tokens=99, messages=[{"role": "user", "content": "What is the weather in Paris?"}]
            ) as events:
                return first, events.get_final_text()

    first, second = await asyncio.to_thread(stream_both)
    assert first.endswith('"What is the weather in Paris?".')
    assert second.endswith('"What is the weather in Paris?".')
