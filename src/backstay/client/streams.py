"""Owns the reading of an answer piece by piece. Closing the stream, or letting go of it, stops the call."""

from collections.abc import AsyncIterator, Iterator
from typing import Self

from backstay.client.engine import Engine
from backstay.client.exchange import Exchange
from backstay.client.loop_thread import LoopThread


class AsyncChunks(AsyncIterator[bytes]):
    """A streamed answer, on the loop of its client."""

    def __init__(self, engine: Engine, exchange: Exchange, patience_s: float | None):
        """Read an answer; ``patience_s`` bounds the wait for each piece."""
        self._engine = engine
        self._exchange = exchange
        self._patience_s = patience_s

    async def __anext__(self) -> bytes:
        chunk = await self._engine.take(self._exchange, self._patience_s)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Stop the call, if it has not ended, and wait until it is recorded."""
        await self._exchange.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._exchange.abandon_soon()


class Chunks(Iterator[bytes]):
    """A streamed answer, for any thread."""

    def __init__(self, engine: Engine, thread: LoopThread, exchange: Exchange, patience_s: float | None):
        """Read an answer; ``patience_s`` bounds the wait for each piece."""
        self._engine = engine
        self._thread = thread
        self._exchange = exchange
        self._patience_s = patience_s

    def __next__(self) -> bytes:
        chunk = self._thread.run(self._engine.take(self._exchange, self._patience_s))
        if not chunk:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop the call, if it has not ended, and wait until it is recorded."""
        if not self._exchange.task.done():
            self._thread.run(self._exchange.end())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._exchange.abandon_soon()
