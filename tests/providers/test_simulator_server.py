"""Each fault as a client sees it on a real socket, and the simulator's controls."""

import asyncio
import errno
import io
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from backstay.core.errors import ConfigError
from backstay.providers.simulator import Simulation
from backstay.providers.simulator_server import SimulatorServer, serve_simulator
from backstay.testing import RunningSimulator, simulator_server

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Say something about the sea."}]}
STREAM = {**CHAT, "stream": True}
MESSAGES = {**CHAT, "max_tokens": 100}

LATE_S = 0.6
"""How late a busy machine may be."""


@pytest.fixture
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with simulator_server() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def _post(
    running: RunningSimulator,
    session: aiohttp.ClientSession,
    script: dict[str, Any],
    body: dict[str, Any],
    *,
    path: str = "/v1/chat/completions",
) -> tuple[int, dict[str, str], bytes]:
    """Send one call under a script; return status, headers and body."""
    running.simulation.script = Simulation(script).script
    async with session.post(running.url + path, json=body) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


def _fault(**fields: Any) -> dict[str, Any]:
    return {"faults": [fields]}


@pytest.mark.parametrize("status", [429, 500, 503, 529])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_an_error_has_its_status_and_retry_after(
    simulator: RunningSimulator, session: aiohttp.ClientSession, status: int, path: str
) -> None:
    """The fault ``status`` answers with that status and ``retry-after``, in the vendor's shape."""
    script = _fault(kind="status", status=status, retry_after_s=2)
    seen, headers, body = await _post(simulator, session, script, MESSAGES, path=path)
    assert (seen, headers["retry-after"]) == (status, "2")
    error = msgspec.json.decode(body)["error"]
    assert str(status) in error["message"]
    assert "x-should-retry" not in headers


async def test_a_reset_is_a_reset(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """The fault ``reset`` makes the kernel report ECONNRESET, without a byte of an answer."""
    with pytest.raises(aiohttp.ClientOSError) as caught:
        await _post(simulator, session, _fault(kind="reset"), CHAT)
    assert caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_hanging_call_gives_no_byte(
    simulator: RunningSimulator, session: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    """The fault ``hang`` accepts the request and stays silent."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await _post(simulator, session, _fault(kind="hang"), body)


async def test_a_stream_hangs_midway(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """With ``after_tokens`` the stream begins and then falls silent, still open."""
    simulator.simulation.script = Simulation(_fault(kind="hang", after_tokens=2)).script
    async with session.post(simulator.url + "/v1/chat/completions", json=STREAM) as answer:
        received = b""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                async for chunk in answer.content.iter_any():
                    received += chunk
    assert received.count(b"data: ") == 3
    assert b"[DONE]" not in received


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_cut_answer_breaks_off(
    simulator: RunningSimulator, session: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    """The fault ``cut`` sends a part and then ends the connection where more was promised."""
    simulator.simulation.script = Simulation(_fault(kind="cut", after_tokens=3)).script
    async with session.post(simulator.url + "/v1/chat/completions", json=body) as answer:
        received = b""
        with pytest.raises(aiohttp.ClientPayloadError):
            async for chunk in answer.content.iter_any():
                received += chunk
    assert answer.status == 200
    assert received
    if body is STREAM:
        assert received.count(b"data: ") == 4


@pytest.mark.parametrize(
    ("path", "shape"), [("/v1/chat/completions", b'data: {"error"'), ("/v1/messages", b"event: error")]
)
async def test_an_error_event_ends_a_stream(
    simulator: RunningSimulator, session: aiohttp.ClientSession, path: str, shape: bytes
) -> None:
    """The fault ``error_event`` reports the vendor's own error midway, after a status of 200."""
    script = _fault(kind="error_event", status=529, after_tokens=1)
    status, _, body = await _post(simulator, session, script, {**MESSAGES, "stream": True}, path=path)
    assert status == 200
    assert shape in body
    assert b"message_stop" not in body
    assert b"[DONE]" not in body


async def test_malformed_bodies_are_whole_but_not_json(
    simulator: RunningSimulator, session: aiohttp.ClientSession
) -> None:
    """The fault ``malformed`` ends well for HTTP and is not JSON."""
    status, _, body = await _post(simulator, session, _fault(kind="malformed"), CHAT)
    assert status == 200
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_one_malformed_event_in_a_stream(
    simulator: RunningSimulator, session: aiohttp.ClientSession, path: str
) -> None:
    """In a stream exactly one event is not JSON; the others are, and the end is there."""
    script = _fault(kind="malformed", after_tokens=2)
    _, _, body = await _post(simulator, session, script, {**MESSAGES, "stream": True}, path=path)
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    broken: list[bytes] = []
    for line in lines:
        try:
            msgspec.json.decode(line)
        except msgspec.DecodeError:
            broken.append(line)
    assert len(broken) == 1
    assert b"[DONE]" in body or b"message_stop" in body


async def test_a_stalled_stream_goes_on(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """The fault ``stall`` pauses the stream once and loses nothing."""
    began = time.monotonic()
    _, _, body = await _post(simulator, session, _fault(kind="stall", stall_s=0.3), STREAM)
    assert 0.3 <= time.monotonic() - began < 0.3 + LATE_S
    assert body.endswith(b"data: [DONE]\n\n")


async def test_latency_and_token_rate_are_kept(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """First byte, first token and last token come when the script says: never before, and soon after."""
    script = {"latency_s": 0.1, "first_token_s": 0.2, "tokens_per_second": 50, "output_tokens": 21}
    simulator.simulation.script = Simulation(script).script
    began = time.monotonic()
    times: list[float] = []
    async with session.post(simulator.url + "/v1/chat/completions", json=STREAM) as answer:
        first_byte_s = time.monotonic() - began
        async for _ in answer.content.iter_any():
            times.append(time.monotonic() - began)
    assert 0.1 <= first_byte_s < 0.1 + LATE_S
    assert 0.3 <= times[1] < 0.3 + LATE_S
    assert 0.7 <= times[-1] < 0.7 + LATE_S


async def test_the_script_changes_while_it_runs(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """``PUT script`` holds for the next call; ``GET`` shows it; a wrong one is refused and changes nothing."""
    url = simulator.url + "/_simulator/script"
    script = _fault(kind="status", status=503)
    async with session.put(url, json=script) as answer:
        assert answer.status == 200
    async with session.post(simulator.url + "/v1/chat/completions", json=CHAT) as answer:
        assert answer.status == 503
    async with session.put(url, json={"latency": 1}) as answer:
        assert answer.status == 400
        assert "latency" in (await answer.json())["error"]["message"]
    async with session.get(url) as answer:
        assert await answer.json() == script


async def test_stats_count_by_outcome_until_reset(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """Each call is counted by what became of it, the ones that were not understood too."""
    await _post(simulator, session, {}, CHAT)
    await _post(simulator, session, {}, {"model": "m"})
    await _post(simulator, session, _fault(kind="refusal"), CHAT)
    async with session.get(simulator.url + "/_simulator/stats") as answer:
        assert await answer.json() == {"seed": 0, "calls": 3, "outcomes": {"answer": 1, "invalid": 1, "refusal": 1}}
    async with session.post(simulator.url + "/_simulator/reset") as answer:
        assert await answer.json() == {"seed": 0, "calls": 0, "outcomes": {}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", b"", 400),
        ("POST", "/v1/chat/completions", b"[1]", 400),
        ("POST", "/v1/chat/completions", b'{"model": "m"}', 400),
        ("POST", "/v1/messages", b'{"model": "m", "messages": []}', 400),
        ("POST", "/v1/embeddings", b'{"model": "m", "input": []}', 400),
        ("POST", "/v1/embeddings", b'{"model": "m", "input": ["a", 1]}', 400),
        ("POST", "/v1/embeddings", b'{"model": "m", "input": "a", "dimensions": 0}', 400),
        ("GET", "/v1/chat/completions", b"", 404),
        ("POST", "/nothing", b"", 404),
    ],
)
async def test_bad_requests_are_answered_in_the_vendors_shape(
    simulator: RunningSimulator, session: aiohttp.ClientSession, method: str, path: str, body: bytes, status: int
) -> None:
    """What cannot be understood is refused with a message, and nothing breaks."""
    async with session.request(method, simulator.url + path, data=body) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["message"]


async def test_a_body_of_many_megabytes_is_taken(simulator: RunningSimulator, session: aiohttp.ClientSession) -> None:
    """A prompt far beyond the HTTP library's own limit is answered."""
    body = msgspec.json.encode({**CHAT, "messages": [{"role": "user", "content": "x" * 5_000_000}]})
    async with session.post(simulator.url + "/v1/chat/completions", data=io.BytesIO(body)) as answer:
        assert (await answer.json())["usage"]["prompt_tokens"] == 1_250_000


async def test_a_port_in_use_is_said() -> None:
    """Listening where somebody listens already raises a sentence with the port."""
    async with simulator_server() as running:
        port = int(running.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            await SimulatorServer(Simulation(None)).start(port=port)


async def test_it_serves_until_it_is_cancelled() -> None:
    """``serve_simulator`` tells its URL and stops cleanly, hanging calls included."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_simulator(script=_fault(kind="hang"), on_ready=ready.set_result))
    url = await ready
    async with aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.post(url + "/v1/chat/completions", json=CHAT))
        await asyncio.sleep(0.1)
        serving.cancel()
        await asyncio.wait((serving,), timeout=2)
        assert serving.cancelled()
        with pytest.raises(aiohttp.ClientError):
            await call
