"""OpenAI's and Anthropic's SDKs through Backstay to a Bedrock on a real socket: answers, streams, prices, faults."""

import asyncio
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from backstay.providers.simulator import Simulation
from backstay.providers.simulator_server import SimulatorServer
from serving import Server, eventually, serving

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather?"}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: ChatCompletionToolParam = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

FAULTS = {"throttled": "status", "cut": "cut", "garbled": "malformed", "told": "error_event"}

SCRIPT: dict[str, Any] = {
    "models": {name: {"faults": [{"kind": kind, "status": 429}]} for name, kind in FAULTS.items()}
}  # fmt: skip


@contextmanager
def _simulator() -> Generator[str]:
    """Run a simulator in a thread; give its URL."""
    loop, server = asyncio.new_event_loop(), SimulatorServer(Simulation(SCRIPT))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    folder: Path = tmp_path_factory.mktemp("bedrock")
    with _simulator() as url:
        policy = [f'[providers.aws]\ndialect = "bedrock"\nregion = "us-east-1"\nbase_url = "{url}"\n']
        policy.append(f'[models.claude]\ntargets = ["aws/{MODEL}"]\n')
        policy += [f'[models.{name}]\ntargets = ["aws/{name}"]\n' for name in FAULTS]
        (folder / "backstay.toml").write_text("\n".join(policy))
        keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
        with serving(folder, **keys) as running:
            yield running, running.ask("keys", "create", "--name", "sdk")["key"]


@pytest.fixture
def openai_client(server: tuple[Server, str]) -> Iterator[openai.OpenAI]:
    running, key = server
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(server: tuple[Server, str]) -> Iterator[anthropic.Anthropic]:
    running, key = server
    with anthropic.Anthropic(base_url=running.url, api_key=key, max_retries=0) as client:
        yield client


def test_openais_sdk_gets_an_answer(openai_client: openai.OpenAI) -> None:
    """An answer has a name, the model that gave it, and usage."""
    answer = openai_client.chat.completions.create(model="claude", messages=ASK)
    assert "What is the weather?" in (answer.choices[0].message.content or "")
    assert (answer.model, bool(answer.id)) == (MODEL, True)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 5


def test_openais_sdk_streams_a_tool_call(openai_client: openai.OpenAI) -> None:
    """Binary events become chunks: a call with arguments that parse, one name for all chunks, usage at the end."""
    with openai_client.chat.completions.stream(
        model="claude", messages=ASK, tools=[TOOL], stream_options={"include_usage": True}
    ) as events:
        answer = events.get_final_completion()
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.function.arguments.startswith('{"city":')
    assert (answer.model, bool(answer.id)) == (MODEL, True)
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_anthropics_sdk_streams(anthropic_client: anthropic.Anthropic) -> None:
    """The same towards Anthropic's SDK, with what Converse leaves to the model itself."""
    with anthropic_client.messages.stream(
        model="claude",
        max_tokens=4096,
        system="Be brief.",
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "What is the weather?"}],
    ) as events:
        answer = events.get_final_message()
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].type == "text"
    assert (answer.model, bool(answer.id)) == (MODEL, True)


def test_calls_have_bedrocks_price(server: tuple[Server, str], openai_client: openai.OpenAI) -> None:
    """A call of a regional inference profile is priced by AWS's list."""
    raw = openai_client.chat.completions.with_raw_response.create(model="claude", messages=ASK)
    usage = raw.parse().usage
    assert usage is not None
    expected = usage.prompt_tokens * 3300 + usage.completion_tokens * 16500  # nano-USD: 3.30 and 16.50 a million
    assert float(raw.headers["x-backstay-cost-usd"]) == pytest.approx(expected / 1e9)
    trace_id = raw.headers["x-backstay-trace-id"]
    running, _ = server
    trace = eventually(lambda: _trace(running, trace_id))
    assert "AKIDEXAMPLE" not in str(trace)


def _trace(running: Server, trace_id: str) -> Any:
    done = running.run("traces", "show", trace_id, "--json")
    return done.stdout if done.returncode == 0 else None


def test_a_throttled_call_is_a_rate_limit(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    """Bedrock's own error arrives as the class that each SDK has for it."""
    with pytest.raises(openai.RateLimitError):
        openai_client.chat.completions.create(model="throttled", messages=ASK)
    with pytest.raises(anthropic.RateLimitError):
        anthropic_client.messages.create(model="throttled", max_tokens=9, messages=[{"role": "user", "content": "hi"}])


def test_one_event_that_makes_no_sense_is_left_out(openai_client: openai.OpenAI) -> None:
    """The stream goes on to its end."""
    chunks = list(openai_client.chat.completions.create(model="garbled", messages=ASK, stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("model", ["cut", "told"])
def test_a_stream_that_fails_says_so(openai_client: openai.OpenAI, model: str) -> None:
    """A stream that is cut or tells an exception ends in an error, never as if it were whole."""
    with pytest.raises(openai.APIError):
        for _ in openai_client.chat.completions.create(model=model, messages=ASK, stream=True):
            pass


def test_what_bedrock_cannot_say_is_refused_in_the_callers_words(anthropic_client: anthropic.Anthropic) -> None:
    """The path counts messages as Anthropic's callers do, beside their `system`."""
    picture: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.content\[0\]: Amazon Bedrock takes an image"):
        anthropic_client.messages.create(
            model="claude", max_tokens=9, system="s", messages=[{"role": "user", "content": [picture]}]
        )
