"""HTTP to providers, against a raw server that cuts, stalls and sends garbage: every mishap has its error, in time."""

import asyncio
import gzip
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import aiohttp
import pytest

from backstay.core.errors import ProviderError, ProviderTimeout, ProviderUnreachable, Untranslatable
from backstay.providers import ANTHROPIC, OPENAI, Dialect, Operation, ProviderRequest, Timeouts
from backstay.providers import http as http_module
from backstay.providers.gemini import GEMINI, VERTEX
from backstay.providers.http import HttpProvider, auth_headers, open_session
from backstay.providers.paths import VERTEX_PATHS, azure_dated
from backstay.providers.secrets import Secret
from backstay.providers.upload import STREAMED_UPLOAD_BYTES

Talk = Callable[["Line"], Awaitable[None]]


class Line:
    """The server's end of one connection, and the request that came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer
        self.head = b""
        self.body = b""

    async def hear(self) -> bool:
        """Read a request; false if the client has gone."""
        try:
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        lengths = [line for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        self.body = await self.reader.readexactly(int(lengths[0].split(b":")[1]))
        return True

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def is_cut(self) -> bool:
        """Wait until the client has closed."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 5) == b""
        except ConnectionError:
            return True

    def cut(self) -> None:
        """Break the connection without a goodbye."""
        self.writer.transport.abort()


class Server:
    """A server on loopback that talks as each test wants."""

    def __init__(self) -> None:
        self.talk: Talk | None = None
        self.url = ""
        self.connections = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = Line(reader, writer)
        try:
            while await line.hear():
                assert self.talk is not None
                await self.talk(line)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator["Server"]:
        server = await asyncio.start_server(self.meet, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().run() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


@pytest.fixture
def provider(server: Server, session: aiohttp.ClientSession) -> HttpProvider:
    key = Secret("canary-4711")
    return HttpProvider(
        "acme",
        OPENAI,
        session,
        base_url=server.url,
        headers=auth_headers("bearer", key),
        secrets=(key,),
        timeouts=Timeouts(connect_s=1, first_token_s=0.3, idle_s=0.3, total_s=1.0),
    )


def _request(
    *, stream: bool = False, body: bytes = b'{"a": 1}', headers: Mapping[str, str] | None = None
) -> ProviderRequest:
    return ProviderRequest(operation="chat", model_id="m", body=body, stream=stream, headers=headers or {})


def _whole(body: bytes, *, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    length = str(len(body)).encode()
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %b\r\n\r\n%b" % (
        status,
        more,
        length,
        body,
    )


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _says(answer: bytes) -> Talk:
    async def talk(line: Line) -> None:
        await line.say(answer)

    return talk


def _says_and_cuts(*pieces: bytes) -> Talk:
    async def talk(line: Line) -> None:
        for piece in pieces:
            await line.say(piece)
            await asyncio.sleep(0.02)
        line.cut()

    return talk


def _says_and_hangs(*pieces: bytes) -> Talk:
    async def talk(line: Line) -> None:
        for piece in pieces:
            await line.say(piece)
        await line.is_cut()

    return talk


async def _frames(provider: HttpProvider) -> list[bytes]:
    exchange = await provider.send(_request(stream=True))
    try:
        return [frame async for frame in exchange.frames()]
    finally:
        await exchange.close()


async def _read(provider: HttpProvider) -> bytes:
    exchange = await provider.send(_request())
    try:
        return await exchange.read()
    finally:
        await exchange.close()


async def test_a_request_goes_out_as_it_is(server: Server, provider: HttpProvider) -> None:
    """The path is the dialect's, the body the caller's byte for byte, the key the operator's."""
    heard: list[tuple[bytes, bytes]] = []

    async def talk(line: Line) -> None:
        heard.append((line.head.lower(), line.body))
        await line.say(_whole(b"{}"))

    server.talk = talk
    body = b'{ "messages" : [],\n "odd":1e400 }'
    exchange = await provider.send(_request(body=body, headers={"authorization": "Bearer theirs", "openai-beta": "x"}))
    assert (exchange.status, await exchange.read()) == (200, b"{}")
    head, sent = heard[0]
    assert sent == body
    assert head.startswith(b"post /v1/chat/completions http/1.1\r\n")
    assert b"\r\nauthorization: bearer canary-4711\r\n" in head
    assert b"\r\nopenai-beta: x\r\n" in head
    assert b"theirs" not in head
    assert b"\r\nuser-agent: backstay/" in head


@pytest.mark.parametrize("size", [10, 1_000_000, 1_500_000, 5_000_000])
async def test_bodies_of_any_size_arrive(server: Server, provider: HttpProvider, size: int) -> None:
    """Large bodies go out whole, with their length."""
    received: list[int] = []

    async def talk(line: Line) -> None:
        received.append(len(line.body))
        await line.say(_whole(b"{}"))

    server.talk = talk
    exchange = await provider.send(_request(body=b"x" * size))
    await exchange.read()
    assert received == [size]


async def test_connections_are_used_again(server: Server, provider: HttpProvider) -> None:
    """Answers that were read to their end leave their connection to the next call."""
    server.talk = _says(_whole(b"{}"))
    for _ in range(5):
        await _read(provider)
    assert server.connections == 1


async def test_error_answers_are_answers(server: Server, provider: HttpProvider) -> None:
    """A status that says failure is handed on with its body; our own key in it is not."""
    server.talk = _says(_whole(b'{"error": "bad key canary-4711"}', status=b"401 No", more=b"retry-after: 3\r\n"))
    exchange = await provider.send(_request())
    assert (exchange.status, exchange.headers["Retry-After"]) == (401, "3")
    assert await exchange.read() == b'{"error": "bad key [redacted]"}'


async def test_redirects_are_not_followed(server: Server, provider: HttpProvider) -> None:
    """A redirect is an answer: following it could hand the key to somebody else."""
    server.talk = _says(_whole(b"", status=b"307 Elsewhere", more=b"location: http://127.0.0.1:1/\r\n"))
    exchange = await provider.send(_request())
    assert exchange.status == 307
    await exchange.close()


async def test_compressed_answers_are_read(server: Server, provider: HttpProvider) -> None:
    """A body in gzip comes out as it was before."""
    packed = gzip.compress(b'{"a": "' + b"x" * 5000 + b'"}')
    server.talk = _says(_whole(packed, more=b"content-encoding: gzip\r\n"))
    assert await _read(provider) == b'{"a": "' + b"x" * 5000 + b'"}'


async def test_answers_are_bounded(server: Server, provider: HttpProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a long answer nor a small one that unpacks to a long one fills the memory."""
    monkeypatch.setattr(http_module, "MAX_ANSWER_BYTES", 10_000)
    for answer in (
        _whole(b"x" * 20_000),
        _whole(gzip.compress(b"x" * 20_000), more=b"content-encoding: gzip\r\n"),
    ):
        server.talk = _says(answer)
        with pytest.raises(ProviderError, match="larger than 10000 bytes"):
            await _read(provider)


async def test_frames_pass_as_they_come(server: Server, provider: HttpProvider) -> None:
    """Each event is there as soon as its last byte is, untouched, before the next is sent."""
    events = [b'data: {"a": 1}\n\n', b": ping\n\n", b"data: [DONE]\n\n"]
    seen = asyncio.Event()

    async def talk(line: Line) -> None:
        await line.say(SSE_HEAD)
        for event in events:
            seen.clear()
            await line.say(_chunk(event[:5]))
            await line.say(_chunk(event[5:]))
            await asyncio.wait_for(seen.wait(), 2)
        await line.say(b"0\r\n\r\n")

    server.talk = talk
    exchange = await provider.send(_request(stream=True))
    got: list[bytes] = []
    async for frame in exchange.frames():
        got.append(frame)
        seen.set()
    assert got == events
    assert server.connections == 1


async def test_a_missing_last_blank_line_is_forgiven(server: Server, provider: HttpProvider) -> None:
    """Some servers end with the last event's line."""
    server.talk = _says(SSE_HEAD + _chunk(b"data: 1\n\ndata: [DONE]\n") + b"0\r\n\r\n")
    assert await _frames(provider) == [b"data: 1\n\n", b"data: [DONE]\n\n"]


async def test_a_stream_that_ends_inside_an_event_broke(server: Server, provider: HttpProvider) -> None:
    """Half an event is not passed on."""
    server.talk = _says(SSE_HEAD + _chunk(b'data: 1\n\ndata: {"a') + b"0\r\n\r\n")
    with pytest.raises(ProviderUnreachable, match="inside an event"):
        await _frames(provider)


async def test_a_document_is_no_stream(server: Server, provider: HttpProvider) -> None:
    """A server that ignores the wish for a stream is told so, instead of its answer being taken for silence."""
    server.talk = _says(_whole(b"{}"))
    with pytest.raises(ProviderError, match="one JSON document"):
        await _frames(provider)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"",),
        (b"HTTP/1.1 200",),
        (b"garbage\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", b"123"),
        (SSE_HEAD, _chunk(b'{"a":')),
        (_whole(b"\x1f\x8bgarbage", more=b"content-encoding: gzip\r\n"),),
    ],
)
async def test_broken_answers_are_unreachable_providers(
    server: Server, provider: HttpProvider, pieces: tuple[bytes, ...]
) -> None:
    """Cut before, in and after the headers, or garbage: one error, which another try may cure."""
    server.talk = _says_and_cuts(*pieces)
    with pytest.raises(ProviderUnreachable) as broken:
        await _read(provider)
    assert broken.value.retryable


async def test_garbage_between_chunks_ends_in_time(server: Server, provider: HttpProvider) -> None:
    """Where the framing of a body breaks, the wait for the rest of it is bounded."""
    server.talk = _says_and_cuts(SSE_HEAD, b"zz\r\nnot a chunk")
    with pytest.raises((ProviderUnreachable, ProviderTimeout)):
        await _frames(provider)


async def test_a_cut_stream_keeps_what_came(server: Server, provider: HttpProvider) -> None:
    """The whole events before the cut are delivered; then the error."""
    server.talk = _says_and_cuts(SSE_HEAD, _chunk(b"data: 1\n\n"), _chunk(b"data: 2\n\ndata: 3"))
    exchange = await provider.send(_request(stream=True))
    got: list[bytes] = []
    with pytest.raises(ProviderUnreachable):
        async for frame in exchange.frames():
            got.append(frame)
    assert got == [b"data: 1\n\n", b"data: 2\n\n"]


async def test_no_server_is_an_unreachable_provider(session: aiohttp.ClientSession, unused_port: int) -> None:
    """Where nobody listens, the reason is the system's."""
    provider = HttpProvider("gone", OPENAI, session, base_url=f"http://127.0.0.1:{unused_port}")
    with pytest.raises(ProviderUnreachable, match=r"gone cannot be connected to: Connection refused\.$"):
        await _read(provider)


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("pieces", "stream", "limit_s"),
    [
        ((), True, 0.3),
        ((SSE_HEAD,), True, 0.3),
        ((SSE_HEAD, _chunk(b"data: 1\n\n")), True, 0.3),
        ((), False, 1.0),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123",), False, 1.0),
    ],
    ids=["no headers", "no first piece", "no next piece", "no whole answer", "half an answer"],
)
async def test_stalls_end_in_time(
    server: Server, provider: HttpProvider, pieces: tuple[bytes, ...], stream: bool, limit_s: float
) -> None:
    """Each wait has its limit: a stream's first piece, the next one, and the whole answer."""
    server.talk = _says_and_hangs(*pieces)
    began = monotonic()
    with pytest.raises(ProviderTimeout):
        await (_frames(provider) if stream else _read(provider))
    assert limit_s - 0.05 <= monotonic() - began < limit_s + 0.9


@pytest.mark.parametrize("pause_s", [0.05, 0])
async def test_a_stream_that_never_stops_still_ends(server: Server, provider: HttpProvider, pause_s: float) -> None:
    """`total_s` bounds a stream whose pieces come in good time forever, however fast."""

    async def talk(line: Line) -> None:
        await line.say(SSE_HEAD)
        while True:
            await line.say(_chunk(b"data: 1\n\n" * 50))
            await asyncio.sleep(pause_s)

    server.talk = talk
    with pytest.raises(ProviderTimeout):
        await _frames(provider)


async def test_a_whole_answer_may_take_longer_than_a_first_token(server: Server, provider: HttpProvider) -> None:
    """An answer that is not streamed begins when it is finished: only `total_s` counts."""

    async def talk(line: Line) -> None:
        await asyncio.sleep(0.5)
        await line.say(_whole(b"{}"))

    server.talk = talk
    assert await _read(provider) == b"{}"


async def test_closing_midway_cuts_the_connection(server: Server, provider: HttpProvider) -> None:
    """A caller who goes away stops the provider's work at once: the connection is closed, not drained."""
    cut = asyncio.Event()

    async def talk(line: Line) -> None:
        await line.say(SSE_HEAD + _chunk(b"data: 1\n\n"))
        if await line.is_cut():
            cut.set()

    server.talk = talk
    exchange = await provider.send(_request(stream=True))
    frames = exchange.frames()
    assert await anext(frames) == b"data: 1\n\n"
    await exchange.close()
    await asyncio.wait_for(cut.wait(), 1)


async def test_cancelling_cuts_the_connection(server: Server, provider: HttpProvider) -> None:
    """A call that is cancelled while it waits leaves no connection behind."""
    cut = asyncio.Event()

    async def talk(line: Line) -> None:
        if await line.is_cut():
            cut.set()

    server.talk = talk
    call = asyncio.create_task(provider.send(_request()))
    await asyncio.sleep(0.1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cut.wait(), 1)


@pytest.mark.parametrize(
    ("dialect", "base_url", "operation", "path"),
    [
        (OPENAI, "http://127.0.0.1:9/v1", "chat", "/v1/chat/completions"),
        (OPENAI, "http://127.0.0.1:9/api", "embeddings", "/api/embeddings"),
        (ANTHROPIC, "http://127.0.0.1:9", "chat", "/v1/messages"),
        (ANTHROPIC, "http://127.0.0.1:9/v1", "count_tokens", "/v1/messages/count_tokens"),
    ],
)
async def test_paths(
    session: aiohttp.ClientSession, dialect: Dialect, base_url: str, operation: Operation, path: str
) -> None:
    """Anthropic's base URL may be given with or without its version, as its own tools and others do."""
    provider = HttpProvider("x", dialect, session, base_url=base_url)
    request = ProviderRequest(operation=operation, model_id="m", body=b"{}")
    assert provider.url_of(request).path == path


async def test_dated_azure_has_the_model_in_its_path(session: aiohttp.ClientSession) -> None:
    """With an API version, the deployment is part of the address."""
    base_url = "https://acme.openai.azure.com/openai/v1"
    base_url, paths = azure_dated(base_url, "2024-10-21")
    provider = HttpProvider("azure", OPENAI, session, base_url=base_url, paths=paths)
    request = ProviderRequest(operation="chat", model_id="gpt 4/o", body=b"{}")
    assert str(provider.url_of(request)) == (
        "https://acme.openai.azure.com/openai/deployments/gpt%204%2Fo/chat/completions?api-version=2024-10-21"
    )


@pytest.mark.parametrize(
    ("operation", "stream", "url"),
    [
        ("chat", False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("chat", True, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("embeddings", False, "/v1beta/models/gemini-2.5-flash:batchEmbedContents"),
        ("count_tokens", False, "/v1beta/models/gemini-2.5-flash:countTokens"),
    ],
)
async def test_gemini_has_the_model_and_the_stream_in_its_path(
    session: aiohttp.ClientSession, operation: Operation, stream: bool, url: str
) -> None:
    """The method says what is wanted and whether it streams; a name may be given as Google's own lists have it."""
    provider = HttpProvider("gemini", GEMINI, session, base_url="http://127.0.0.1:9/v1beta")
    for name in ("gemini-2.5-flash", "models/gemini-2.5-flash"):
        request = ProviderRequest(operation=operation, model_id=name, body=b"{}", stream=stream)
        assert provider.url_of(request).raw_path_qs == url


async def test_vertex_has_project_and_location_in_its_base_url(session: aiohttp.ClientSession) -> None:
    """The methods are below the publisher; a batch of embeddings is none of them."""
    base_url = "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/eu/publishers/google"
    provider = HttpProvider("vertex", VERTEX, session, base_url=base_url, paths=VERTEX_PATHS)
    request = ProviderRequest(operation="chat", model_id="gemini-3.5-flash", body=b"{}", stream=True)
    assert str(provider.url_of(request)) == f"{base_url}/models/gemini-3.5-flash:streamGenerateContent?alt=sse"
    with pytest.raises(Untranslatable, match="no endpoint for embeddings"):
        provider.url_of(ProviderRequest(operation="embeddings", model_id="m", body=b"{}"))


@pytest.mark.parametrize(("dialect", "operation"), [(ANTHROPIC, "embeddings"), (OPENAI, "count_tokens")])
async def test_what_a_dialect_has_no_path_for_is_refused(
    session: aiohttp.ClientSession, dialect: Dialect, operation: Operation
) -> None:
    """A provider that cannot do it says so without being asked over the network."""
    provider = HttpProvider("x", dialect, session, base_url="http://127.0.0.1:9")
    with pytest.raises(Untranslatable, match=f"no endpoint for {operation}"):
        await provider.send(ProviderRequest(operation=operation, model_id="m", body=b"{}"))


def test_the_bound_of_streamed_uploads_is_aiohttps() -> None:
    """Above it, aiohttp warns about bytes that block the loop: such bodies go out piece by piece."""
    assert STREAMED_UPLOAD_BYTES <= aiohttp.payload.TOO_LARGE_BYTES_BODY
