"""Owns what every provider must do, whatever it is: one check a promise, run on each implementation.

A test module that has a provider runs them all with

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_conformance(check: Check, …) -> None:
        await check(provider, model_id)
"""

import asyncio
from collections.abc import Awaitable, Callable

import anthropic.types
import msgspec
import openai.types.chat
import openai.types.responses
from dialect_checks import check_bedrock_answer, check_gemini_answer, check_openai_schema

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse, Message, Started, Text
from backstay.core.errors import ProviderError
from backstay.providers import DIALECTS, Exchange, Provider, ProviderRequest, Timeouts, accumulate, summarize
from responses_schema import check_responses_schema

Check = Callable[[Provider, str], Awaitable[None]]

_TIMEOUTS = Timeouts(connect_s=5, first_token_s=30, idle_s=30, total_s=60)


def ask(provider: Provider, model_id: str, *, stream: bool = False) -> ProviderRequest:
    """Write a small chat in the provider's own dialect."""
    chat = ChatRequest(
        model=model_id,
        messages=(
            Message(role="system", parts=(Text(text="Be brief."),)),
            Message(role="user", parts=(Text(text="Say hello."),)),
        ),
        max_output_tokens=24,
        stream=stream,
    )
    body = provider.dialect.write_request(chat, model_id)
    return ProviderRequest(operation="chat", model_id=model_id, body=body, stream=stream, timeouts=_TIMEOUTS)


def _text(answer: ChatResponse) -> str:
    return "".join(part.text for part in answer.choices[0].parts if isinstance(part, Text))


async def _whole(provider: Provider, model_id: str) -> bytes:
    exchange = await provider.send(ask(provider, model_id))
    try:
        assert exchange.status == 200
        return await exchange.read()
    finally:
        await exchange.close()


async def _frames(exchange: Exchange) -> list[bytes]:
    try:
        return [frame async for frame in exchange.frames()]
    finally:
        await exchange.close()


async def says_who_it_is(provider: Provider, model_id: str) -> None:
    """A provider has a name and speaks a dialect that is known."""
    assert provider.name
    assert provider.dialect.name in DIALECTS
    assert provider.dialect.name in provider.speaks


async def answers_whole(provider: Provider, model_id: str) -> None:
    """A whole answer has text, an end and usage, and its summary says the same as it does."""
    body = await _whole(provider, model_id)
    answer = provider.dialect.read_response(body)
    assert _text(answer)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.is_known
    assert provider.dialect.read_summary(body) == summarize(answer)


async def answers_to_the_letter(provider: Provider, model_id: str) -> None:
    """A whole answer is what the vendor's document and SDK say it is."""
    body = await _whole(provider, model_id)
    match provider.dialect.name:
        case "openai":
            check_openai_schema("CreateChatCompletionResponse", msgspec.json.decode(body))
            openai.types.chat.ChatCompletion.model_validate_json(body, strict=True)
        case "responses":
            check_responses_schema("Response", msgspec.json.decode(body))
            openai.types.responses.Response.model_validate_json(body, strict=True)
        case "anthropic":
            anthropic.types.Message.model_validate_json(body, strict=True)
        case "gemini":
            check_gemini_answer(body)
        case _:
            check_bedrock_answer(body)


async def streams(provider: Provider, model_id: str) -> None:
    """A stream begins, says something, ends by the dialect's own end, and brings usage if it can."""
    frames = await _frames(await provider.send(ask(provider, model_id, stream=True)))
    reader = provider.dialect.stream_reader()
    events: list[ChatEvent] = [event for frame in frames for event in reader.read(frame)]
    answer = accumulate(events)
    assert all(provider.dialect.framing.splitter().feed(frame) == [frame] for frame in frames)
    assert isinstance(events[0], Started)
    assert _text(answer)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert reader.finished
    assert answer.usage.is_known or not provider.reports_stream_usage


async def survives_a_closed_stream(provider: Provider, model_id: str) -> None:
    """A stream that is given up in the middle leaves the provider as it was."""
    exchange = await provider.send(ask(provider, model_id, stream=True))
    async for _ in exchange.frames():
        break
    await exchange.close()
    assert await _whole(provider, model_id)


async def answers_side_by_side(provider: Provider, model_id: str) -> None:
    """Several calls at once each get their own answer."""
    bodies = await asyncio.gather(*(_whole(provider, model_id) for _ in range(4)))
    assert all(_text(provider.dialect.read_response(body)) for body in bodies)


async def refuses_garbage(provider: Provider, model_id: str) -> None:
    """A body that is not JSON gets an error with a message, and no answer."""
    request = ProviderRequest(operation="chat", model_id=model_id, body=b'{"model', timeouts=_TIMEOUTS)
    exchange = await provider.send(request)
    try:
        assert 400 <= exchange.status < 600
        error = provider.dialect.read_error(exchange.status, exchange.headers, await exchange.read())
    finally:
        await exchange.close()
    assert isinstance(error, ProviderError)
    assert error.message
    assert error.status == exchange.status


CHECKS: tuple[Check, ...] = (
    says_who_it_is,
    answers_whole,
    answers_to_the_letter,
    streams,
    survives_a_closed_stream,
    answers_side_by_side,
    refuses_garbage,
)
"""Every promise."""
