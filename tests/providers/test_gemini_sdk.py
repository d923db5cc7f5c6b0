"""Google's own SDK against the simulator's sockets: answers, streams, tools, JSON, embeddings, counts, errors."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from backstay.providers.simulator import read_script
from backstay.testing import RunningSimulator, simulator_server

ASK = "What is the weather in Paris?"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = types.Tool(function_declarations=[types.FunctionDeclaration(name="f", parameters_json_schema=SCHEMA)])


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with simulator_server() as running:
        yield running


@pytest.fixture
async def models(simulator: RunningSimulator) -> AsyncIterator[Any]:
    """The SDK's asynchronous models (its own types are only partly known, hence ``Any``)."""
    over_httpx = {"transport": httpx.AsyncHTTPTransport()}  # its other client, aiohttp's, warns at being made
    options = types.HttpOptions(base_url=simulator.url, timeout=5000, async_client_args=over_httpx)
    client = genai.Client(api_key="any", http_options=options)
    yield client.aio.models
    await client.aio.aclose()
    client.close()


async def test_an_answer(models: Any) -> None:
    """Text, an end and usage; the count of tokens agrees with it."""
    answer = await models.generate_content(model="gemini-3.5-flash", contents=ASK)
    count = await models.count_tokens(model="gemini-3.5-flash", contents=ASK)
    assert answer.text.endswith(f'to "{ASK}".')
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.model_version == "gemini-3.5-flash"
    assert answer.usage_metadata.prompt_token_count == count.total_tokens == 8


async def test_a_stream_adds_up(models: Any) -> None:
    """The pieces are the text; the last one has the reason and the usage."""
    stream = await models.generate_content_stream(model="m", contents=ASK)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.text or "" for chunk in chunks)
    assert text.endswith(f'to "{ASK}".')
    assert [chunk.candidates[0].finish_reason for chunk in chunks[-2:]] == [None, types.FinishReason.STOP]
    assert chunks[-1].usage_metadata.candidates_token_count == -(-len(text) // 4)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call(models: Any, stream: bool) -> None:
    """The SDK sees one call with its arguments as an object, and its result is answered by text."""
    config: Any = {"tools": [TOOLS], "automatic_function_calling": {"disable": True}}
    if stream:
        chunks = [chunk async for chunk in await models.generate_content_stream(model="m", contents=ASK, config=config)]
        content = chunks[-1].candidates[0].content
    else:
        content = (await models.generate_content(model="m", contents=ASK, config=config)).candidates[0].content
    call = content.parts[0].function_call
    assert (call.name, list(call.args)) == ("f", ["city"])
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name="f", response={"degrees": 20}))
    turns = [
        types.Content(role="user", parts=[types.Part(text=ASK)]),
        content,
        types.Content(role="user", parts=[result]),
    ]
    assert (await models.generate_content(model="m", contents=turns, config=config)).text


async def test_json_fits_the_schema(models: Any) -> None:
    """`parsed` is an instance of what was asked for."""
    config: Any = {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    answer = await models.generate_content(model="m", contents=ASK, config=config)
    assert list(answer.parsed) == ["city"]


async def test_embeddings(models: Any) -> None:
    """A vector for each text, in the size asked for."""
    answer = await models.embed_content(model="e", contents=["a", "b"], config={"output_dimensionality": 8})
    assert [len(embedding.values) for embedding in answer.embeddings] == [8, 8]


@pytest.mark.parametrize(
    ("status", "kind", "rpc"),
    [
        (400, errors.ClientError, "INVALID_ARGUMENT"),
        (401, errors.ClientError, "UNAUTHENTICATED"),
        (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
        (503, errors.ServerError, "UNAVAILABLE"),
    ],
)
async def test_a_status_raises_the_sdks_own_class(
    models: Any, simulator: RunningSimulator, status: int, kind: type[errors.APIError], rpc: str
) -> None:
    """Each error has its status and the RPC code that goes with it."""
    simulator.simulation.script = read_script({"faults": [{"kind": "status", "status": status}]})
    with pytest.raises(kind) as raised:
        await models.generate_content(model="m", contents=ASK)
    assert (raised.value.code, raised.value.status) == (status, rpc)


async def test_an_error_event_raises_in_a_stream(models: Any, simulator: RunningSimulator) -> None:
    """An error inside a stream is the SDK's own error, not an end."""
    simulator.simulation.script = read_script({"faults": [{"kind": "error_event", "message": "gone"}]})
    stream = await models.generate_content_stream(model="m", contents=ASK)
    with pytest.raises(errors.APIError, match="gone"):
        async for _ in stream:
            pass


async def test_models_are_listed(models: Any, simulator: RunningSimulator) -> None:
    """Models of the script are listed."""
    simulator.simulation.script = read_script({"models": {"slow": {"latency_s": 1}}})
    assert [model.name async for model in await models.list()] == ["models/sim", "models/slow"]
