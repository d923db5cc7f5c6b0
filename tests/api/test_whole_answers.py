"""Tests of whole answers on real sockets: written at once where that is possible, and never with a header split."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn

from backstay.api.bodies import Receive
from backstay.api.protocol import GuardedProtocol
from backstay.api.wires import AsgiSink, Scope, Send

Answer = Callable[[bytes], tuple[list[tuple[bytes, bytes]], bytes]]
"""From a request's body to its answer's headers and body."""


@asynccontextmanager
async def served(answer: Answer) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Serve whole answers, and open a connection to the server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers, body = answer((await receive())["body"])
        await AsgiSink(scope, send, lambda size: None).reply(200, headers, body)

    config = uvicorn.Config(
        app, port=0, http=GuardedProtocol, lifespan="off", log_config=None, server_header=False, date_header=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await running


def request(body: bytes, *, close: bool = False) -> bytes:
    end = b"connection: close\r\n" if close else b""
    return b"POST / HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (end, len(body), body)


async def test_answers_keep_their_order_on_one_connection():
    """Requests that come at once, behind each other, are answered one after the other, each with its own."""
    async with served(lambda body: ([(b"x-asked", body)], body * 3)) as (reader, writer):
        writer.write(b"".join(request(b"%d" % number) for number in range(10)) + request(b"last", close=True))
        text = await reader.read()
    answers = text.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert answers[:10] == [b"x-asked: %d\r\ncontent-length: 3\r\n\r\n%d%d%d" % ((n,) * 4) for n in range(10)]
    assert answers[10].endswith(b"\r\n\r\nlastlastlast") and b"connection: close" in answers[10].lower()


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 - 1, 64 * 1024, 5_000_000])
async def test_a_body_of_any_size_comes_whole(size: int):
    """Short ones with their head, long ones behind it, and those that the socket does not take at once."""
    async with served(lambda body: ([], b"x" * size)) as (reader, writer):
        writer.write(request(b"?") + request(b"?", close=True))
        text = await reader.read()
    assert text.count(b"HTTP/1.1 200 OK") == 2 and text.count(b"x") == 2 * size


@pytest.mark.parametrize("value", [b"good\r\nset-cookie: evil=1", b"good\nevil: 1", b"good\revil: 1"])
async def test_a_header_with_a_line_break_is_never_sent(value: bytes):
    """It would begin a header, or an answer, that nobody meant."""
    async with served(lambda body: ([(b"x-said", value)], b"{}")) as (reader, writer):
        writer.write(request(b"?"))
        text = await reader.read()
    assert b"evil" not in text and b" 200 " not in text.split(b"\r\n")[0]
