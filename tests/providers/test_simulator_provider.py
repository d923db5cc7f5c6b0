"""The simulator in this process: the same as on a socket, with the caller's deadlines."""

import asyncio
import time
from typing import Any

import aiohttp
import msgspec
import pytest

from backstay.core.chat import ChatEvent, Finished, RefusalDelta, StreamFailed, UsageReported
from backstay.core.errors import ConfigError, ProviderError, ProviderTimeout, ProviderUnreachable
from backstay.providers.anthropic import ANTHROPIC
from backstay.providers.openai import OPENAI
from backstay.providers.simulator import Simulator
from backstay.providers.types import Dialect, Operation, ProviderRequest, Timeouts
from backstay.testing import FixedClock, simulator_server

MESSAGES = [{"role": "user", "content": "Say something about the sea."}]
QUICK = Timeouts(connect_s=0.1, first_token_s=0.2, idle_s=0.2, total_s=0.4)


def _request(*, stream: bool = False, operation: Operation = "chat", **fields: Any) -> ProviderRequest:
    body = msgspec.json.encode({"model": "m", "messages": MESSAGES, "max_tokens": 100, "stream": stream, **fields})
    return ProviderRequest(operation=operation, model_id="m", body=body, stream=stream, timeouts=QUICK)


def _simulator(dialect: Dialect = OPENAI, **fault: Any) -> Simulator:
    speaks = "openai" if dialect is OPENAI else "anthropic"
    return Simulator("sim", script={"faults": [fault]} if fault else None, speaks=speaks, clock=FixedClock())


async def _read_stream(simulator: Simulator) -> tuple[list[ChatEvent], bool]:
    reader = simulator.dialect.stream_reader()
    wanted: dict[str, Any] = {"stream_options": {"include_usage": True}} if simulator.dialect is OPENAI else {}
    exchange = await simulator.send(_request(stream=True, **wanted))
    events = [event async for frame in exchange.frames() for event in reader.read(frame)]
    return events, reader.finished


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
async def test_a_stream_says_what_the_whole_answer_says(dialect: Dialect) -> None:
    """Both end in the same finish reason and usage, by the dialect's own readers."""
    whole = await (await _simulator(dialect).send(_request())).read()
    summary = dialect.read_summary(whole)
    events, finished = await _read_stream(_simulator(dialect))
    assert finished
    assert summary.finish_reasons == ("stop",)
    assert [event.reason for event in events if isinstance(event, Finished)] == ["stop"]
    assert (summary.usage.input_tokens, summary.usage.output_tokens) == (7, 15)
    reported = [event.usage for event in events if isinstance(event, UsageReported)][-1]
    assert reported.output_tokens == 15


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "dialect"), [("/v1/chat/completions", OPENAI), ("/v1/messages", ANTHROPIC)])
async def test_the_socket_shows_the_same_bytes(path: str, dialect: Dialect, stream: bool) -> None:
    """The first call of a seed is byte for byte the same in-process and over HTTP."""
    request = _request(stream=stream)
    inside = await (await _simulator(dialect).send(request)).read()
    async with simulator_server(clock=FixedClock()) as running, aiohttp.ClientSession() as session:
        async with session.post(running.url + path, data=request.body) as answer:
            assert await answer.read() == inside


@pytest.mark.parametrize("stream", [False, True])
async def test_reset_and_cut_are_unreachable(stream: bool) -> None:
    """A broken connection is ``ProviderUnreachable``, before the answer or within it."""
    with pytest.raises(ProviderUnreachable):
        await _simulator(kind="reset").send(_request(stream=stream))
    exchange = await _simulator(kind="cut").send(_request(stream=stream))
    with pytest.raises(ProviderUnreachable):
        await exchange.read()


@pytest.mark.parametrize(("stream", "limit_s"), [(False, 0.4), (True, 0.2)])
async def test_a_hanging_call_times_out_at_the_deadline(stream: bool, limit_s: float) -> None:
    """Waiting ends at ``first_token_s`` in a stream and at ``total_s`` otherwise."""
    began = time.monotonic()
    with pytest.raises(ProviderTimeout):
        await _simulator(kind="hang").send(_request(stream=stream))
    assert limit_s <= time.monotonic() - began < limit_s + 0.6


async def test_a_stream_that_stalls_times_out() -> None:
    """A pause longer than ``idle_s`` ends the stream after what came before it."""
    exchange = await _simulator(kind="stall", stall_s=5, after_tokens=2).send(_request(stream=True))
    frames: list[bytes] = []
    with pytest.raises(ProviderTimeout):
        async for frame in exchange.frames():
            frames.append(frame)
    assert len(frames) == 3


@pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC])
async def test_faults_inside_a_stream_reach_the_reader(dialect: Dialect) -> None:
    """An error event is read as a failure, and a malformed event raises."""
    events, finished = await _read_stream(_simulator(dialect, kind="error_event", status=529))
    assert [type(event) for event in events[-1:]] == [StreamFailed]
    assert not finished
    with pytest.raises(ProviderError):
        await _read_stream(_simulator(dialect, kind="malformed"))


async def test_a_refusal_is_a_refusal_in_both_dialects() -> None:
    """OpenAI's wire carries the refusal's text apart; Anthropic's stops with the reason ``refusal``."""
    events, _ = await _read_stream(_simulator(kind="refusal"))
    assert "can't help" in "".join(event.text for event in events if isinstance(event, RefusalDelta))
    body = await (await _simulator(ANTHROPIC, kind="refusal").send(_request())).read()
    assert msgspec.json.decode(body)["stop_reason"] == "refusal"


async def test_an_error_status_is_an_answer() -> None:
    """``send`` returns an error answer, which the dialect reads, instead of raising."""
    exchange = await _simulator(kind="status", status=429, retry_after_s=3).send(_request())
    error = OPENAI.read_error(exchange.status, exchange.headers, await exchange.read())
    assert (error.status, error.kind, error.retryable, error.retry_after_s) == (429, "rate_limit", True, 3.0)


async def test_embeddings_are_unit_vectors_and_repeatable() -> None:
    """Equal texts have equal vectors of length 1, in the dimensions asked for; base64 holds the same."""

    async def embed(**fields: Any) -> Any:
        exchange = await _simulator().send(_request(operation="embeddings", **fields))
        return msgspec.json.decode(await exchange.read())

    answer = await embed(input=["sea", "land", "sea"], dimensions=64)
    first, second, third = (item["embedding"] for item in answer["data"])
    assert first == third != second
    assert len(first) == 64
    assert sum(value * value for value in first) == pytest.approx(1.0, abs=1e-5)  # pyright: ignore[reportUnknownMemberType]
    assert len((await embed(input="sea"))["data"][0]["embedding"]) == 1536
    assert len((await embed(input=[[1, 2], [3]]))["data"]) == 2


async def test_closing_early_leaves_nothing_running() -> None:
    """An exchange that is given up midway leaves no task behind."""
    simulator = Simulator("sim", script={"tokens_per_second": 5})
    exchange = await simulator.send(_request(stream=True))
    async for _ in exchange.frames():
        break
    await exchange.close()
    await simulator.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_wrong_script_is_refused_when_the_provider_is_made() -> None:
    """A mistake in the configuration shows at once, not in the first call."""
    with pytest.raises(ConfigError, match="latncy"):
        Simulator("sim", script={"latncy": 1})
