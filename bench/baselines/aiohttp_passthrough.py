"""Owns the baseline that the targets refer to: a raw ASGI callable on uvicorn that sends on with aiohttp.

It passes requests and answers on, streams included, and does nothing else. Its client is set up as sparingly as
Backstay's own: whatever it is spared, Backstay would be flattered by.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from yarl import URL

Message = dict[str, Any]


class Passthrough:
    """Sends each request to the same path of the upstream."""

    def __init__(self, upstream: str):
        self._upstream = upstream
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        session = self._open()
        url = self._url(scope["path"])
        async with session.post(url, data=await _read(receive), headers=_HEADERS) as answer:
            kind = answer.headers["content-type"]
            headers = [(b"content-type", kind.encode())]
            if kind.startswith("text/event-stream"):
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
                return
            body = await answer.read()
            headers.append((b"content-length", str(len(body)).encode()))
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("accept", "accept-encoding", "user-agent"),
            )
        return self._session

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._upstream + path)
        return url


_HEADERS = {"content-type": "application/json", "authorization": "Bearer upstream-key"}


async def _read(receive: Callable[[], Awaitable[Message]]) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


app = Passthrough(os.environ["BENCH_UPSTREAM"])
