"""Vendors by way of the real litellm, against the simulator's sockets: every promise, every mishap, no leak."""

import asyncio
import base64
import json
import logging
import os
import subprocess
import sys
from array import array
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from conformance import CHECKS, Check

from backstay import AsyncClient
from backstay.core.errors import ConfigError, ProviderError, ProviderTimeout, ProviderUnreachable, Untranslatable
from backstay.providers import Exchange, Operation, ProviderConfig, ProviderRequest, Timeouts, read_rate_limits
from backstay.providers.http import open_session
from backstay.providers.litellm_adaptor import LiteLLMProvider, library
from backstay.providers.litellm_adaptor.translation import CHAT_FIELDS
from backstay.providers.registry import build_provider
from backstay.providers.simulator import read_script
from backstay.testing import RunningSimulator, simulator_server

# pydantic's words about litellm's own types: it silences them itself while it loads, which pytest undoes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the .* attribute on the instance is deprecated"),
]

PATHS = {"openai": "/v1", "deepseek": "/v1", "anthropic": "", "gemini": "/v1beta"}
VENDORS = pytest.mark.parametrize("vendor", PATHS)
KEY = "canary-4711"
SHORT = Timeouts(connect_s=1, first_token_s=0.4, idle_s=0.4, total_s=3)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Load the package once, outside of any test's time limits."""
    library.load()


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with simulator_server() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


def build(session: aiohttp.ClientSession, vendor: str, url: str, **more: Any) -> LiteLLMProvider:
    config = ProviderConfig(dialect="litellm", vendor=vendor, base_url=url, api_key="env:KEY", **more)
    built = build_provider("far", config, session=session, environ={"KEY": KEY})
    assert isinstance(built, LiteLLMProvider)
    return built


@pytest.fixture
async def provider(session: aiohttp.ClientSession, simulator: RunningSimulator, vendor: str) -> LiteLLMProvider:
    return build(session, vendor, simulator.url + PATHS[vendor])


def behave(simulator: RunningSimulator, kind: str, **fault: Any) -> None:
    simulator.simulation.script = read_script({"faults": [{"kind": kind, **fault}]})


def request(
    fields: Mapping[str, Any], *, operation: Operation = "chat", stream: bool = False, timeouts: Timeouts = SHORT
) -> ProviderRequest:
    body = json.dumps({"model": "m", **fields, **({"stream": True} if stream else {})}).encode()
    return ProviderRequest(operation=operation, model_id="m", body=body, stream=stream, timeouts=timeouts)


def chat(*, stream: bool = False, timeouts: Timeouts = SHORT, **more: Any) -> ProviderRequest:
    fields = {"messages": [{"role": "user", "content": "Hello?"}], **more}
    return request(fields, stream=stream, timeouts=timeouts)


async def frames(exchange: Exchange) -> list[bytes]:
    try:
        return [frame async for frame in exchange.frames()]
    finally:
        await exchange.close()


async def refused(provider: LiteLLMProvider, request: ProviderRequest) -> ProviderError:
    """Make a call that is answered with an error, and return that as the gateway reads it."""
    exchange = await provider.send(request)
    assert exchange.status >= 400
    return provider.dialect.read_error(exchange.status, exchange.headers, await exchange.read())


@VENDORS
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, provider: LiteLLMProvider) -> None:
    """Each check's own docstring says what is promised."""
    await check(provider, "gpt-4o-mini")


@VENDORS
@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "invalid_request", False),
        (401, "authentication", False),
        (402, "quota", False),
        (403, "permission", False),
        (404, "not_found", False),
        (429, "rate_limit", True),
        (500, "api_error", True),
        (503, "overloaded", True),
    ],
)
async def test_an_error_answer_keeps_its_meaning(
    provider: LiteLLMProvider, simulator: RunningSimulator, status: int, kind: str, retryable: bool
) -> None:
    """Kind, whether to try again and when are what the vendor said; and it is asked once."""
    behave(simulator, "status", status=status, retry_after_s=7 if retryable else None)
    for stream in (False, True):
        before = simulator.simulation.outcomes.total()
        error = await refused(provider, chat(stream=stream))
        assert (error.kind, error.retryable) == (kind, retryable)
        assert error.retry_after_s == (7 if retryable else None)
        assert "answers with status" in error.message
        assert simulator.simulation.outcomes.total() == before + 1


@VENDORS
async def test_a_context_that_is_too_long_is_told_apart(provider: LiteLLMProvider, simulator: RunningSimulator) -> None:
    """Another target with a longer context may still answer it."""
    behave(simulator, "status", status=400, message="This model's maximum context length is 8192 tokens.")
    assert (await refused(provider, chat())).kind == "context_length"


@VENDORS
async def test_broken_connections(provider: LiteLLMProvider, simulator: RunningSimulator) -> None:
    """A connection that breaks is an unreachable provider, and never the end of an answer."""
    for stream in (False, True):
        behave(simulator, "reset")
        with pytest.raises(ProviderUnreachable):
            await provider.send(chat(stream=stream))
    behave(simulator, "cut", after_tokens=2)
    with pytest.raises(ProviderUnreachable):
        await provider.send(chat())
    exchange = await provider.send(chat(stream=True))
    seen: list[bytes] = []
    with pytest.raises(ProviderUnreachable):
        async for frame in exchange.frames():
            seen.append(frame)
    await exchange.close()
    assert seen and not any(b'"finish_reason":"stop"' in frame or b"[DONE]" in frame for frame in seen)


@VENDORS
async def test_deadlines(
    provider: LiteLLMProvider, simulator: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    """What takes too long is given up, and its connection too: whole, before a stream's first piece, between two."""
    behave(simulator, "hang")
    with pytest.raises(ProviderTimeout):
        await provider.send(chat(timeouts=Timeouts(total_s=0.4)))
    with pytest.raises(ProviderTimeout):
        await frames(await provider.send(chat(stream=True)))
    behave(simulator, "hang", after_tokens=2)
    with pytest.raises(ProviderTimeout):
        await frames(await provider.send(chat(stream=True)))
    connector = session.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    assert not connector._acquired  # pyright: ignore[reportPrivateUsage] - nothing public tells


async def test_a_port_where_nobody_listens(session: aiohttp.ClientSession) -> None:
    """It is unreachable at once."""
    with pytest.raises(ProviderUnreachable):
        await build(session, "deepseek", "http://127.0.0.1:9/v1").send(chat())


@VENDORS
async def test_an_error_inside_a_stream(provider: LiteLLMProvider, simulator: RunningSimulator) -> None:
    """It ends the stream as an error."""
    behave(simulator, "error_event", after_tokens=2)
    with pytest.raises(ProviderError):
        await frames(await provider.send(chat(stream=True)))


@VENDORS
async def test_tools(provider: LiteLLMProvider) -> None:
    """A tool is called, whole and streamed, with arguments that are JSON."""
    answer = json.loads(await (await provider.send(chat(tools=[TOOL]))).read())
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert "city" in json.loads(call["function"]["arguments"])
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    reader = provider.dialect.stream_reader()
    streamed = await frames(await provider.send(chat(stream=True, tools=[TOOL])))
    said = [event for frame in streamed for event in reader.read(frame)]
    assert {"ToolUseStarted", "ToolUseDelta"} <= {type(event).__name__ for event in said}


@pytest.mark.parametrize("vendor", ["openai", "gemini"])
async def test_embeddings(provider: LiteLLMProvider) -> None:
    """Vectors come as numbers or as base64, as asked, in order, with their usage."""
    texts = ["one", "two"]
    plain = await provider.send(request({"input": texts}, operation="embeddings"))
    packed = await provider.send(request({"input": texts, "encoding_format": "base64"}, operation="embeddings"))
    body = await plain.read()
    vectors = [row["embedding"] for row in json.loads(body)["data"]]
    rows = [base64.b64decode(row["embedding"]) for row in json.loads(await packed.read())["data"]]
    assert vectors[0] != vectors[1]
    assert [array("f", row).tolist() for row in rows] == [array("f", vector).tolist() for vector in vectors]
    assert provider.dialect.embeddings is not None
    assert provider.dialect.embeddings.read_summary(body).usage.input_tokens


@pytest.mark.parametrize("vendor", ["openai"])
@pytest.mark.parametrize(
    "field",
    ["api_base", "base_url", "api_key", "fallbacks", "mock_response", "model_list", "extra_headers", "num_retries",
     "metadata", "custom_llm_provider", "timeout", "shared_session", "vertex_credentials", "no-log", "surprise"],
)  # fmt: skip
async def test_a_caller_cannot_steer_litellm(
    provider: LiteLLMProvider, simulator: RunningSimulator, field: str
) -> None:
    """A field that does not say what the model shall do is refused by name, and nothing is sent."""
    assert field not in CHAT_FIELDS
    asked: dict[Operation, dict[str, Any]] = {"chat": {"messages": []}, "embeddings": {"input": "a"}}
    for operation, fields in asked.items():
        with pytest.raises(Untranslatable, match="has no form") as error:
            await provider.send(request({**fields, field: "http://127.0.0.1:9"}, operation=operation))
        assert error.value.param == field
    assert simulator.simulation.outcomes.total() == 0


@pytest.mark.parametrize("vendor", ["openai"])
async def test_only_functions_are_tools(provider: LiteLLMProvider) -> None:
    """Tools that litellm itself would run are refused."""
    with pytest.raises(Untranslatable) as error:
        await provider.send(chat(tools=[TOOL, {"type": "mcp", "server_url": "litellm_proxy"}]))
    assert error.value.param == "tools[1]"


@pytest.mark.parametrize("vendor", ["anthropic"])
async def test_what_a_vendor_cannot_do_is_for_another_target(provider: LiteLLMProvider) -> None:
    """A parameter that the vendor has no form for is not dropped."""
    with pytest.raises(Untranslatable, match="seed"):
        await provider.send(chat(seed=7))


@pytest.mark.parametrize("vendor", ["openai"])
@pytest.mark.parametrize("body", [b"[]", b'{"messages": "Hello?"}', b'{"messages": ["Hello?"]}', b'{"model"'])
async def test_a_request_that_is_none_is_the_callers_fault(provider: LiteLLMProvider, body: bytes) -> None:
    """litellm would call it a broken connection."""
    error = await refused(provider, ProviderRequest(operation="chat", model_id="m", body=body))
    assert (error.status, error.kind, error.retryable) == (400, "invalid_request", False)


@pytest.mark.parametrize("vendor", ["openai"])
async def test_tokens_cannot_be_counted(provider: LiteLLMProvider) -> None:
    """There is no such operation."""
    with pytest.raises(Untranslatable):
        await provider.send(request({}, operation="count_tokens"))


@pytest.mark.parametrize("vendor", ["openai"])
async def test_candidates(provider: LiteLLMProvider) -> None:
    """Several candidates come whole; in a stream litellm would lose their ends, so they are refused."""
    answer = json.loads(await (await provider.send(chat(n=2))).read())
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    with pytest.raises(Untranslatable) as error:
        await provider.send(chat(n=2, stream=True))
    assert error.value.param == "n"


@asynccontextmanager
async def telltale(seen: list[bytes], status: int, body: Mapping[str, Any], *headers: str) -> AsyncGenerator[str]:
    """Run a server that keeps the heads of what it gets, and repeats them where the answer says ``HEAD``."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        said = json.dumps(body).replace("HEAD", json.dumps(head.decode())[1:-1]).encode()
        lines = [f"HTTP/1.1 {status} So", "content-type: application/json", "connection: close", *headers]
        writer.write("\r\n".join([*lines, f"content-length: {len(said)}", "\r\n"]).encode() + said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_the_key_is_ours_and_stays_hidden(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor gets the configured key and headers; an error that repeats them is cut."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-somebody-else")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    seen: list[bytes] = []
    async with telltale(seen, 401, {"error": {"message": "No: HEAD", "code": "invalid_api_key"}}) as url:
        provider = build(session, "openai", url, headers={"x-team": "search"})
        error = await refused(provider, chat())
    (head,) = seen
    assert b"canary-4711" in head
    assert b"x-team: search" in head.lower()
    assert b"of-somebody-else" not in head
    assert "[redacted]" in error.message
    assert "canary" not in error.message


@VENDORS
async def test_nothing_of_a_call_is_logged(
    vendor: str,
    session: aiohttp.ClientSession,
    simulator: RunningSimulator,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither prompt nor key is in a log line or printed, be the call good or bad, even where all else is logged."""
    provider = build(session, vendor, simulator.url + PATHS[vendor])
    with caplog.at_level(logging.DEBUG):
        for script in ({}, {"faults": [{"kind": "status", "status": 500}]}, {"faults": [{"kind": "reset"}]}):
            simulator.simulation.script = read_script(script)
            try:
                await provider.send(chat(user="canary-user", messages=[{"role": "user", "content": "canary-prompt"}]))
            except ProviderUnreachable as error:
                assert error.__cause__ is None
                assert "canary" not in error.message
    said = caplog.text + "".join(capfd.readouterr())
    assert "canary" not in said


@pytest.mark.parametrize("vendor", ["openai", "deepseek"])
async def test_rate_limits_are_read(session: aiohttp.ClientSession, vendor: str) -> None:
    """What a vendor's headers say of its limits comes through."""
    answer = {
        "id": "c",
        "model": "m",
        "created": 1,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    }
    headers = ("x-ratelimit-limit-requests: 60", "x-ratelimit-remaining-requests: 12")
    async with telltale([], 200, answer, *headers) as url:
        exchange = await build(session, vendor, url).send(chat())
    requests, _ = read_rate_limits(exchange.headers)
    assert requests is not None
    assert (requests.limit, requests.remaining) == (60, 12)


async def test_a_fault_of_litellms_own_is_not_repeated(session: aiohttp.ClientSession) -> None:
    """The vendor answered, which costs; litellm cannot read it: that is no broken connection to be tried again."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    answer = {"id": "c", "model": "m", "created": 1, "choices": [choice]}  # for Groq it wants a `service_tier`
    async with telltale([], 200, answer) as url:
        error = await refused(build(session, "groq", url), chat())
    assert (error.kind, error.retryable) == ("api_error", False)
    assert "litellm failed at this call by itself" in error.message


async def test_an_unknown_vendor(session: aiohttp.ClientSession) -> None:
    """The provider says what is wrong with it, and calls go elsewhere."""
    provider = build(session, "nobody", "http://127.0.0.1:9/v1")
    error = await refused(provider, chat())
    assert (error.kind, error.retryable) == ("not_found", False)
    assert "no vendor 'nobody'" in error.message
    assert provider.problem == "litellm knows no vendor 'nobody'"


async def test_a_missing_package(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it."""
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ConfigError, match=r"providers\.far: .* `pip install 'backstay\[litellm\]'`"):
        build(session, "cohere", "http://127.0.0.1:9/v1")


_OTHERS = """
import asyncio, sys
import backstay.worker
from backstay.providers import ProviderConfig, Providers, ProviderRequest

async def main():
    providers = Providers({"KEY": "k"})
    others = {"a": ProviderConfig(dialect="openai", api_key="env:KEY"), "sim": ProviderConfig(dialect="simulator")}
    built = providers.build(others)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}'
    exchange = await built["sim"].send(ProviderRequest(operation="chat", model_id="m", body=body))
    assert exchange.status == 200
    await providers.close()

asyncio.run(main())
print([name for name in sys.modules if name.partition(".")[0] in ("litellm", "openai", "httpx", "tiktoken")])
"""


def test_it_is_never_loaded_for_others() -> None:
    """A worker with other providers has not imported it, nor what it brings."""
    run = subprocess.run([sys.executable, "-c", _OTHERS], capture_output=True, text=True, env={**os.environ})
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


_POLICY = """
[providers.far]
dialect  = "litellm"
vendor   = "openai"
base_url = "URL/v1"
api_key  = "env:FAR_KEY"

[models.far]
targets = ["far/gpt-4o-mini"]
"""


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_through_the_gateway_is_priced(
    wire: Any,
    stream: bool,
    simulator: RunningSimulator,
    tmp_path: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Usage becomes a price of the vendor's list, whichever wire the caller speaks, whole or streamed."""
    monkeypatch.setenv("FAR_KEY", KEY)
    config = tmp_path / "backstay.toml"
    config.write_text(_POLICY.replace("URL", simulator.url))
    body = {"model": "far", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello?"}], "stream": stream}
    async with AsyncClient(config=config, data_dir=tmp_path / "data", database_url=database_url) as client:
        answer = await client.call("chat", body, wire=wire)
        said = answer.body or b"".join([piece async for piece in answer.stream or ()])
    assert answer.status == 200
    assert b"Simu" in said
    with psycopg.connect(database_url) as books:
        entries = books.execute("select trace_id, cost_nanousd, estimated from ledger_entries").fetchall()
    # gpt-4o-mini, $0.15 and $0.60 a million: 2 tokens in, 10 out
    assert entries == [(answer.headers["x-backstay-trace-id"], 2 * 150 + 10 * 600, False)]


@asynccontextmanager
async def silent_vendor() -> AsyncGenerator[str]:
    """Run a vendor of OpenAI's dialect that tells nobody what a call has used; give its URL."""
    head = {"id": "x", "created": 1, "model": "gpt-4o-mini"}

    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}
            return web.json_response({**head, "object": "chat.completion", "choices": [choice]})
        piece = {"index": 0, "delta": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}
        chunks = [json.dumps({**head, "object": "chat.completion.chunk", "choices": [piece]})]
        text = "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"])
        return web.Response(text=text, content_type="text/event-stream")

    async def embed(_: web.Request) -> web.Response:
        item = {"object": "embedding", "index": 0, "embedding": [0.5]}
        return web.json_response({"object": "list", "model": "text-embedding-3-small", "data": [item]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_post("/v1/embeddings", embed)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_litellm_counts_is_an_estimate(
    stream: bool, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the vendor sends no usage, the call has a price, marked for the caller and in the ledger."""
    monkeypatch.setenv("FAR_KEY", KEY)
    config = tmp_path / "backstay.toml"
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    body = {"model": "far", "messages": [{"role": "user", "content": "Hello?"}], **options}
    async with silent_vendor() as url:
        config.write_text(_POLICY.replace("URL", url))
        async with AsyncClient(config=config, data_dir=tmp_path / "data", database_url=database_url) as client:
            answer = await client.call("chat", body, wire="openai")
            said = answer.body or b"".join([piece async for piece in answer.stream or ()])
    assert answer.status == 200
    assert b'"x_backstay_estimated":true' in said
    with psycopg.connect(database_url) as books:
        [(cost_nanousd, estimated)] = books.execute("select cost_nanousd, estimated from ledger_entries").fetchall()
    # "Hello?" with its message around it is 9 tokens, "Hello there" 2
    assert (cost_nanousd, estimated) == (9 * 150 + 2 * 600, True)


async def test_embeddings_without_usage_are_estimated(session: aiohttp.ClientSession) -> None:
    """By what was to be embedded: they are not free."""
    async with silent_vendor() as url:
        provider = build(session, "openai", url + "/v1")
        exchange = await provider.send(request({"input": "Hello there"}, operation="embeddings"))
        usage = json.loads(await exchange.read())["usage"]
    assert usage == {"prompt_tokens": 2, "total_tokens": 2, "x_backstay_estimated": True}
