"""Tests of the in-process clients with the vendors' own SDKs, as they are used over HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from client_house import House
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from backstay import AsyncClient, Client
from backstay.client import sdks
from backstay.core.errors import ConfigError
from serving import eventually

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
WAYS = pytest.mark.parametrize("model", ["openai-way", "anthropic-way"])


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with Client(**house.options) as client:
        yield client


@WAYS
def test_chat_is_answered_and_priced(client: Client, house: House, model: str):
    """A plain chat has the headers that a caller over HTTP gets, and is in the books with its exact price."""
    raw = client.openai().chat.completions.with_raw_response.create(model=model, messages=ASK, user="u-1")
    assert "capital of France" in (raw.parse().choices[0].message.content or "")
    cost_usd = raw.headers["x-backstay-cost-usd"]
    client.close()
    status, cost_nanousd = house.calls()[raw.headers["x-backstay-trace-id"]]
    assert (status, cost_nanousd) == ("ok", round(float(cost_usd) * 1e9))


@WAYS
def test_a_stream_comes_in_pieces(client: Client, model: str):
    """A stream is whole, and ends with its usage where it was asked for."""
    with client.openai().chat.completions.create(
        model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "capital of France" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage


def test_a_stream_is_not_gathered_first(client: Client):
    """The first piece is there long before the last one: 400 tokens at 20 a second would take 20 seconds."""
    with client.openai().chat.completions.create(model="slow", messages=ASK, stream=True) as stream:
        assert next(iter(stream)).choices


@WAYS
def test_tools(client: Client, model: str):
    """A tool is called with arguments that the SDK puts together from a stream."""
    with client.openai().chat.completions.stream(model=model, messages=ASK, tools=[WEATHER]) as events:
        completion = events.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or []
    assert call.type == "function" and "city" in json.loads(call.function.arguments)


@WAYS
def test_anthropics_sdk(client: Client, model: str):
    """Messages, streamed messages and token counts are answered on Anthropic's wire."""
    sdk = client.anthropic()
    whole = sdk.messages.create(model=model, max_tokens=64, messages=[{"role": "user", "content": "Hello?"}])
    assert whole.content and whole.usage.output_tokens > 0
    with sdk.messages.stream(model=model, max_tokens=64, messages=[{"role": "user", "content": "Hello?"}]) as stream:
        assert "".join(stream.text_stream)
    with pytest.raises(anthropic.NotFoundError, match="nothing"):
        sdk.messages.create(model="nothing", max_tokens=1, messages=[{"role": "user", "content": "Hello?"}])


def test_embeddings_and_models(client: Client):
    """What the SDK asks besides chats is answered too."""
    sdk = client.openai()
    assert len(sdk.embeddings.create(model="sim", input=["one", "two"]).data) == 2
    assert {"openai-way", "sim"} <= {model.id for model in sdk.models.list()}


@pytest.mark.parametrize(("model", "error"), [("fails", openai.RateLimitError), ("nothing", openai.NotFoundError)])
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_sdks_own(client: Client, model: str, error: type[Exception], stream: bool):
    """An error of the gateway or of a provider becomes the class that the SDK has for it."""
    with pytest.raises(error):
        client.openai().chat.completions.create(model=model, messages=ASK, stream=stream)


def test_routes_retries_and_deadlines_hold(client: Client):
    """A failing target is passed over, and the caller's own deadline ends a call with 504."""
    raw = client.openai().chat.completions.with_raw_response.create(model="fallback", messages=ASK)
    assert (raw.headers["x-backstay-attempts"], raw.headers["x-backstay-target"]) == ("2", "open/gpt-4o-mini")
    answer = client.call("chat", {"model": "late", "messages": ASK}, deadline_s=0.2)
    assert answer.status == 504 and answer.json()["error"]["code"] in ("deadline_exceeded", "provider_timeout")


def test_the_sdks_own_timeout_holds(client: Client, house: House):
    """The SDK's timeout raises its own exception, and the call is stopped and recorded as cancelled."""
    with pytest.raises(openai.APITimeoutError):
        client.openai(timeout=0.3).chat.completions.create(model="late", messages=ASK)
    eventually(lambda: [status for status, _ in house.calls().values()] == ["cancelled"], 20)


def test_a_stream_left_half_way_is_stopped(client: Client, house: House):
    """Who stops reading a stream stops the call: it is in the books as cancelled, with what was received."""
    with client.openai().chat.completions.with_streaming_response.create(
        model="slow", messages=ASK, stream=True
    ) as raw:
        trace_id = raw.headers["x-backstay-trace-id"]
        next(raw.iter_bytes())
    assert house.booked(trace_id)[0] == "cancelled"


def test_a_stream_that_is_let_go_of_is_stopped(client: Client, house: House):
    """Nobody needs to close it: when the last reference is gone, so is the call."""
    answer = client.call("chat", {"model": "slow", "messages": ASK, "stream": True})
    assert answer.stream is not None and next(answer.stream)
    trace_id = answer.headers["x-backstay-trace-id"]
    del answer
    assert house.booked(trace_id)[0] == "cancelled"


async def test_the_async_clients(house: House):
    """The asynchronous SDKs work on the caller's own loop, streamed too, and a stream left half-way is stopped."""
    async with AsyncClient(**house.options) as client:
        sdk = client.openai()
        whole = await sdk.chat.completions.create(model="anthropic-way", messages=ASK)
        assert "capital of France" in (whole.choices[0].message.content or "")
        parts = [
            chunk.choices[0].delta.content or ""
            async for chunk in await sdk.chat.completions.create(model="openai-way", messages=ASK, stream=True)
            if chunk.choices
        ]
        assert "capital of France" in "".join(parts)
        message = await client.anthropic().messages.create(
            model="openai-way", max_tokens=64, messages=[{"role": "user", "content": "Hello?"}]
        )
        assert message.content
        answer = await client.call("chat", {"model": "slow", "messages": ASK, "stream": True})
        assert answer.stream is not None
        async with answer.stream as stream:
            await anext(stream)
    statuses = [status for status, _ in house.calls().values()]
    assert sorted(statuses) == ["cancelled", "ok", "ok", "ok"]


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_the_transport_serves_any_client_of_both_libraries(client: Client, library: Any):
    """What has an HTTP client of its own can be given one that stays in the process."""
    with library.Client(transport=client.transport(library), base_url="http://here") as http:
        answer = http.post("/v1/chat/completions", json={"model": "sim", "messages": ASK})
        assert answer.status_code == 200 and answer.json()["choices"]
        assert http.get("/nothing").status_code == 404


def test_a_missing_sdk_is_named(client: Client, monkeypatch: pytest.MonkeyPatch):
    """Without the package the error says what to install."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(sdks.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match="pip install openai"):
        client.openai()
