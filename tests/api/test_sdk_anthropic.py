"""Tests of Anthropic's wire with Anthropic's own SDK, towards targets of both dialects."""

import json
from collections.abc import Iterator

import anthropic
import jsonschema
import pytest
from anthropic.types import Message, MessageParam, ToolParam
from wire_server import wire_server

from serving import Server

WAYS = pytest.mark.parametrize("model", ["openai-way", "anthropic-way"])

ASK: list[MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: ToolParam = {
    "name": "get_weather",
    "description": "Tell the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with wire_server(tmp_path_factory.mktemp("wires")) as running:
        yield running


@pytest.fixture
def client(server: tuple[Server, str]) -> Iterator[anthropic.Anthropic]:
    running, key = server
    with anthropic.Anthropic(base_url=running.url, api_key=key, max_retries=0) as client:
        yield client


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@WAYS
def test_message(client: anthropic.Anthropic, model: str):
    """A message comes back with text, usage and the headers."""
    raw = client.messages.with_raw_response.create(
        model=model, max_tokens=100, system="Be brief.", messages=ASK, metadata={"user_id": "u-1"}
    )
    message = raw.parse()
    assert "capital of France" in text_of(message)
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message.stop_reason == "end_turn"
    assert float(raw.headers["x-backstay-cost-usd"]) > 0 and len(raw.headers["x-backstay-trace-id"]) == 32


@WAYS
def test_stream(client: anthropic.Anthropic, model: str):
    """A stream has the vendor's sequence of events, and joins to the whole message with its usage."""
    with client.messages.stream(model=model, max_tokens=100, messages=ASK) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    wire = [kind for kind in kinds if kind != "text"]
    assert wire[0] == "message_start" and wire[-1] == "message_stop" and "message_delta" in wire
    assert wire.count("content_block_start") == wire.count("content_block_stop") == 1
    assert "capital of France" in text_of(message) and message.usage.output_tokens > 0


@WAYS
@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: anthropic.Anthropic, model: str, stream: bool):
    """A tool call arrives with input that fits the schema, and its result can be sent back."""
    if stream:
        with client.messages.stream(model=model, max_tokens=100, messages=ASK, tools=[WEATHER]) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(
            model=model, max_tokens=100, messages=ASK, tools=[WEATHER], tool_choice={"type": "any"}
        )
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    jsonschema.validate(use.input, dict(WEATHER["input_schema"]))
    after = client.messages.create(
        model=model,
        max_tokens=100,
        tools=[WEATHER],
        messages=[
            *ASK,
            {"role": "assistant", "content": [use.to_dict()]},  # pyright: ignore[reportArgumentType]
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Sunny."}]},
        ],
    )
    assert text_of(after)


@WAYS
def test_count_tokens(client: anthropic.Anthropic, model: str):
    """Tokens can be counted before a call, whatever dialect the target speaks, and it costs nothing."""
    raw = client.messages.with_raw_response.count_tokens(model=model, messages=ASK)
    assert raw.parse().input_tokens > 0
    assert float(raw.headers["x-backstay-cost-usd"]) == 0


def test_models(client: anthropic.Anthropic):
    """The models that a key may use are listed in Anthropic's shape for Anthropic's SDK."""
    assert {"local", "sim", "anthropic-way"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("sim").id == "sim"


@pytest.mark.parametrize("speaks", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_error_is_the_sdks_own(
    client: anthropic.Anthropic, speaks: str, status: int, error: type[anthropic.APIStatusError], stream: bool
):
    """What a provider of either dialect answers becomes the exception class that the SDK has for it."""
    with pytest.raises(error) as caught:
        client.with_options(max_retries=0).messages.create(
            model=f"fails-{speaks}-{status}", max_tokens=9, messages=ASK, stream=stream
        )
    document = json.loads(caught.value.response.content)
    assert document["type"] == "error" and "no good" in document["error"]["message"]


def test_a_wrong_key_is_an_authentication_error(server: tuple[Server, str]):
    """Without a valid key nothing is answered."""
    with anthropic.Anthropic(base_url=server[0].url, api_key="bs_abcdefghij_" + "x" * 32, max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError, match="backstay keys create"):
            client.messages.create(model="sim", max_tokens=9, messages=ASK)


async def test_the_async_client(server: tuple[Server, str]):
    """The asynchronous SDK works as the other one does, streamed too."""
    async with anthropic.AsyncAnthropic(base_url=server[0].url, api_key=server[1], max_retries=0) as client:
        whole = await client.messages.create(model="openai-way", max_tokens=100, messages=ASK)
        async with client.messages.stream(model="anthropic-way", max_tokens=100, messages=ASK) as stream:
            streamed = await stream.get_final_message()
    assert "capital of France" in text_of(whole) and "capital of France" in text_of(streamed)
