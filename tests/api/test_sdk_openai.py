"""Tests of OpenAI's wire with OpenAI's own SDK, towards targets of both dialects."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel
from wire_server import wire_server

from serving import Server, eventually

SCHEMAS = json.loads((Path(__file__).parents[1] / "providers" / "openai_schemas.json").read_text())
WAYS = pytest.mark.parametrize("model", ["openai-way", "anthropic-way"])

ASK: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of France?"},
]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class Capital(BaseModel):
    city: str
    population: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with wire_server(tmp_path_factory.mktemp("wires")) as running:
        yield running


@pytest.fixture
def client(server: tuple[Server, str]) -> Iterator[openai.OpenAI]:
    running, key = server
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
        yield client


def valid(name: str, document: Any) -> None:
    """Assert that a document fits a schema of OpenAI's own OpenAPI document."""
    validator: Any = jsonschema.Draft202012Validator({**SCHEMAS, "$ref": f"#/$defs/{name}"})
    validator.validate(document)


@WAYS
def test_chat(client: openai.OpenAI, model: str):
    """A plain chat gives a completion that is valid against OpenAI's document, with usage and the headers."""
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK, user="u-1")
    document = json.loads(raw.content)
    valid("CreateChatCompletionResponse", document)
    completion = raw.parse()
    assert "capital of France" in (completion.choices[0].message.content or "")
    assert completion.usage and completion.usage.total_tokens > 0
    assert len(raw.headers["x-backstay-trace-id"]) == 32
    assert float(raw.headers["x-backstay-cost-usd"]) > 0


@WAYS
def test_stream(client: openai.OpenAI, model: str):
    """A stream's chunks are valid, begin with the role, end with usage where it was asked for, and join to the text."""
    with client.chat.completions.create(
        model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    for chunk in chunks:
        valid("CreateChatCompletionStreamResponse", chunk.model_dump(mode="json", exclude_unset=True))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert "capital of France" in text
    assert chunks[-1].usage and chunks[-1].choices == []


@WAYS
def test_a_stream_has_no_usage_unless_asked(client: openai.OpenAI, model: str):
    """The usage that the gateway asks for itself does not reach a caller who did not."""
    with client.chat.completions.create(model=model, messages=ASK, stream=True) as stream:
        chunks = list(stream)
    assert all(chunk.choices and not chunk.usage for chunk in chunks)


@WAYS
@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: openai.OpenAI, model: str, stream: bool):
    """A tool call arrives with arguments that fit the schema; the SDK's own message and the result can be sent back."""
    with client.chat.completions.stream(model=model, messages=ASK, tools=[WEATHER]) as events:
        completion = events.get_final_completion()
    if not stream:
        completion = client.chat.completions.create(model=model, messages=ASK, tools=[WEATHER], tool_choice="required")
    (call,) = completion.choices[0].message.tool_calls or []
    assert call.type == "function" and completion.choices[0].finish_reason == "tool_calls"
    jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"].get("parameters", {}))
    said: Any = completion.choices[0].message  # with the place in the stream and the parsed arguments that the SDK adds
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
    after = client.chat.completions.create(model=model, tools=[WEATHER], messages=[*ASK, said, result])
    assert after.choices[0].message.content


@WAYS
def test_json_schema(client: openai.OpenAI, model: str):
    """Structured output is parsed by the SDK into the caller's own class, and the SDK's message can be sent back."""
    completion = client.chat.completions.parse(model=model, messages=ASK, response_format=Capital)
    said: Any = completion.choices[0].message
    assert isinstance(said.parsed, Capital)
    again: Any = [*ASK, said.to_dict(warnings=False), *ASK]
    assert client.chat.completions.create(model=model, messages=again).choices[0].message.content


def test_embeddings(client: openai.OpenAI):
    """Embeddings are valid, one for each input, as floats or as base64 (which the SDK asks for by itself)."""
    answer = client.embeddings.create(model="sim", input=["one", "two"])
    assert [len(item.embedding) > 0 for item in answer.data] == [True, True]
    floats = client.embeddings.with_raw_response.create(model="sim", input="one", encoding_format="float")
    valid("CreateEmbeddingResponse", json.loads(floats.content))
    assert floats.parse().data[0].embedding == pytest.approx(answer.data[0].embedding, abs=1e-6)


def test_models(client: openai.OpenAI):
    """The models that a key may use are listed, valid, and can be asked for one by one."""
    raw = client.models.with_raw_response.list()
    valid("ListModelsResponse", json.loads(raw.content))
    names = [model.id for model in client.models.list()]
    assert {"local", "embed", "sim", "openai-way"} <= set(names)
    assert client.models.retrieve("openai-way").id == "openai-way"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


@pytest.mark.parametrize("speaks", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_error_is_the_sdks_own(
    client: openai.OpenAI, speaks: str, status: int, error: type[openai.APIStatusError], stream: bool
):
    """What a provider of either dialect answers becomes the exception class that the SDK has for it."""
    with pytest.raises(error) as caught:
        once = client.with_options(max_retries=0)
        once.chat.completions.create(model=f"fails-{speaks}-{status}", messages=ASK, stream=stream)
    valid("ErrorResponse", json.loads(caught.value.response.content))
    assert "no good" in caught.value.message


def test_a_wrong_key_is_an_authentication_error(server: tuple[Server, str]):
    """Without a valid key nothing is answered, and the message says how to get one."""
    with openai.OpenAI(base_url=f"{server[0].url}/v1", api_key="bs_abcdefghij_" + "x" * 32, max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="backstay keys create"):
            client.chat.completions.create(model="sim", messages=ASK)


def test_an_unknown_model_names_the_nearest(client: openai.OpenAI):
    """A misspelt model gets a 404 that lists what there is, nearest first."""
    with pytest.raises(openai.NotFoundError, match="This key may use: openai-way") as caught:
        client.chat.completions.create(model="openai-wya", messages=ASK)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_the_async_client(server: tuple[Server, str]):
    """The asynchronous SDK works as the other one does, streamed too."""
    async with openai.AsyncOpenAI(base_url=f"{server[0].url}/v1", api_key=server[1], max_retries=0) as client:
        whole = await client.chat.completions.create(model="anthropic-way", messages=ASK)
        stream = await client.chat.completions.create(model="openai-way", messages=ASK, stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "capital of France" in (whole.choices[0].message.content or "")
    assert "capital of France" in "".join(parts)


def test_attribution(server: tuple[Server, str], client: openai.OpenAI):
    """User, feature and tags of a call are in its trace and in the costs."""
    running, _ = server
    raw = client.chat.completions.with_raw_response.create(
        model="openai-way", messages=ASK, user="u-77",
        extra_headers={"x-backstay-feature": "search", "x-backstay-tags": "beta, eu"},
    )  # fmt: skip
    trace_id = raw.headers["x-backstay-trace-id"]

    def booked() -> list[Any]:
        return [row for row in running.ask("costs", "--by", "user,feature,model")["rows"] if row["user"] == "u-77"]

    (row,) = eventually(booked)
    assert (row["feature"], row["cost_usd"]) == ("search", raw.headers["x-backstay-cost-usd"])
    trace = running.ask("traces", "show", trace_id)
    assert trace["trace_id"] == trace_id
