"""Owns a worker's wires on a real socket with little room, and the provider behind it."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec
import uvicorn
from gateway_house import House, open_house

from backstay.api.asgi import FrontDoor
from backstay.api.protocol import guarded
from backstay.api.wires import Wires
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.gateway import Capacity, Gate, Model, Models, Target
from backstay.providers import OPENAI
from backstay.providers.http import HttpProvider, open_session

_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
FRAME = (
    b"data: %b\n\n"
    % json.dumps(
        {**_CHUNK, "choices": [{"index": 0, "delta": {"content": "x" * 10_000}, "finish_reason": None}]}
    ).encode()
)
LAST = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},' \
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'  # fmt: skip
ANSWER = json.dumps(
    {
        **_CHUNK,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


class Provider:
    """Takes requests and answers them: streams of ``stream_bytes``, and whole answers after ``think_s``."""

    def __init__(self) -> None:
        self.think_s = 0.0
        self.stream_bytes = 100_000
        self.sent_bytes = 0
        self.connections = 0
        self.requests = 0
        self.last_body = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    await self._one(reader, writer)
        finally:
            self.connections -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        self.requests += 1
        self.last_body = body
        if b'"stream":true' not in body.replace(b" ", b""):
            await asyncio.sleep(self.think_s)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            writer.write(head % len(ANSWER) + ANSWER)
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(self.stream_bytes // len(FRAME)):
            writer.write(b"%x\r\n%b\r\n" % (len(FRAME), FRAME))
            self.sent_bytes += len(FRAME)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker that listens."""

    port: int
    gate: Gate
    house: House
    provider: Provider
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def held(self) -> tuple[int, int, int, int]:
        """Calls and bytes that are in, those that wait, and calls that the gateway has open."""
        admission = self.gate.admission
        return (admission.calls, admission.size_bytes, admission.waiting, self.house.gateway.open_calls)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def freed(self, limit_s: float = 10) -> None:
        """Wait until nothing is held, or fail."""
        give_up = asyncio.get_running_loop().time() + limit_s
        while self.held != (0, 0, 0, 0) and asyncio.get_running_loop().time() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert self.held == (0, 0, 0, 0)


@asynccontextmanager
async def worker(
    folder: Path, *, calls: int = 4, size_bytes: int = 4 << 20, wait_s: float = 0.2, reader_patience_s: float = 120
) -> AsyncGenerator[Worker]:
    """Run a worker with so much room, and a provider for its one model ``m``."""
    provider = Provider()
    upstream = await asyncio.start_server(provider.answer, "127.0.0.1", 0)
    listener = socket.create_server(("127.0.0.1", 0))
    with open_house(folder) as house:
        async with open_session() as session:
            url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
            house.gateway.models = _models(HttpProvider("p", OPENAI, session, base_url=url))
            gate = Gate(Capacity(calls=calls, size_bytes=size_bytes, wait_ns=round(wait_s * 1e9)), SystemClock())
            wires = Wires(house.gateway, gate, _authenticate, max_body_bytes=32 << 20)
            config = uvicorn.Config(
                FrontDoor(wires, _nowhere), http=guarded(reader_patience_s), lifespan="off", log_config=None
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            port: int = listener.getsockname()[1]
            yield Worker(port=port, gate=gate, house=house, provider=provider, session=session)
            server.should_exit = True
            await serving
    upstream.close()


def _models(provider: HttpProvider) -> Models:
    target = Target(name="p/m", provider=provider, model_id="m", price_model="m", is_free=True)
    return Models({"m": Model(name="m", targets=(target,))})


async def _authenticate(headers: Mapping[bytes, bytes]) -> Caller:
    tenant_id = headers.get(b"x-tenant", b"acme").decode()
    priority = "batch" if b"x-key-of-batch" in headers else "interactive"
    return Caller(
        tenant_id=tenant_id, kind="key", id="key_1", name="test", rights=frozenset({"call"}), priority=priority
    )


async def _nowhere(scope: object, receive: object, send: object) -> None:
    raise AssertionError("only the wires are called")


def body(size_bytes: int = 200, *, stream: bool = False) -> bytes:
    """Write a request of so many bytes."""
    frame = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "TEXT"}]}).encode()
    return frame.replace(b"TEXT", b"x" * (size_bytes - len(frame) + 4))


def head(length: int | None, **headers: str) -> bytes:
    """Write the head of a request; ``None``: its body comes in chunks."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{framing}\r\n{more}\r\n".encode()
