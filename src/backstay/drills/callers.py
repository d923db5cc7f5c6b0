"""Owns who makes the calls, and what a caller is told."""

import time
from typing import Any, Literal, Protocol

import aiohttp
import msgspec

from backstay.core.money import NanoUSD, from_usd

Ending = Literal["ok", "stale", "degraded", "refused", "failed", "wrong", "late", "unmade"]
"""``ok``: a whole, right answer. ``stale``: the same, from a kept answer that had expired, and marked as such.
``degraded``: what else the route ends in. ``refused``: there was no room, in time.
``failed``: an error, or a broken answer. ``wrong``: an answer that is not the whole one. ``late``: the caller's
patience was over. ``unmade``: too many calls were open already."""


class Answered(msgspec.Struct, frozen=True):
    """What a caller was told."""

    ending: Ending
    target: str | None = None
    first_token_s: float | None = None
    detail: str = ""
    is_kept: bool = False
    """Whether a kept answer was given again, which no target was asked for."""
    cost_nanousd: NanoUSD | None = None
    """What the caller was told that it costs; ``None``: nothing was said, as of streams and errors."""


class Caller(Protocol):
    """Somebody who calls."""

    async def call(self, text: str, *, stream: bool) -> Answered:
        """Make one call with an own text, to which the right answer is the same text."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


class BackstayCaller:
    """Calls Backstay over a pool of connections, without any retry of its own."""

    def __init__(self, url: str, key: str, *, model: str, feature: str, max_tokens: int | None = None):
        headers = {"authorization": f"Bearer {key}", "x-backstay-feature": feature}
        self._session = aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0))
        self._url = f"{url}/v1/chat/completions"
        self._fixed: dict[str, Any] = {"model": model} | ({} if max_tokens is None else {"max_tokens": max_tokens})

    async def call(self, text: str, *, stream: bool) -> Answered:
        body = self._fixed | {"messages": [{"role": "user", "content": text}], "stream": stream}
        began = time.monotonic()
        try:
            async with self._session.post(self._url, json=body) as answer:
                target = answer.headers.get("x-backstay-target")
                if answer.status != 200:
                    ending: Ending = "refused" if answer.status in (429, 503) else "failed"
                    return Answered(ending, target, detail=f"{answer.status} {_message(await answer.read())}")
                said, first_s = await (_read_stream(answer) if stream else _read_whole(answer))
                is_kept = answer.headers.get("x-backstay-cache") == "hit"
                stood_in = answer.headers.get("x-backstay-degraded")
                cost = answer.headers.get("x-backstay-cost-usd")
        except aiohttp.ClientError as error:
            return Answered("failed", detail=str(error) or type(error).__name__)
        ending = _ending(text, said, stood_in)
        return Answered(
            ending,
            target,
            None if first_s is None else first_s - began,
            "" if ending == "ok" else stood_in or str(said),
            is_kept,
            None if cost is None else from_usd(cost),
        )

    async def close(self) -> None:
        await self._session.close()


def _ending(text: str, said: str | None, stood_in: str | None) -> Ending:
    if stood_in is not None and not (stood_in == "cache_stale" and said == text):
        return "degraded"
    if said != text:
        return "wrong" if said is not None else "failed"
    return "ok" if stood_in is None else "stale"


def _message(body: bytes) -> str:
    """Read what an error answer says."""
    try:
        return msgspec.json.decode(body)["error"]["message"][:160]
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:160].decode(errors="replace")


async def _read_whole(answer: aiohttp.ClientResponse) -> tuple[str | None, None]:
    document = msgspec.json.decode(await answer.read())
    return document["choices"][0]["message"]["content"], None


async def _read_stream(answer: aiohttp.ClientResponse) -> tuple[str | None, float | None]:
    """Read a stream to its end: its text, ``None`` if it broke, and when its first text came."""
    said, first_s = "", None
    async for line in answer.content:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            return said, first_s
        chunk = msgspec.json.decode(line[6:])
        if "error" in chunk:
            return None, first_s
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or ""
            first_s = first_s or (time.monotonic() if piece else None)
            said += piece
    return None, first_s
