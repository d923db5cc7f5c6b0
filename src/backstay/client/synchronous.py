"""Owns the client of programs without an event loop: the gateway runs in a thread of its own."""

import atexit
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from backstay.client.answers import Answer, WireName, answer_of, attribution_of, write_request
from backstay.client.engine import CLOSE_S, Engine
from backstay.client.exchange import Exchange, Request
from backstay.client.loop_thread import LoopThread
from backstay.client.opening import let_go_in_children, new_engine
from backstay.client.sdks import Transport, build_sdk
from backstay.client.streams import Chunks
from backstay.core.caller import Priority
from backstay.providers import Operation

if TYPE_CHECKING:
    from anthropic import Anthropic
    from openai import OpenAI


class Client:
    """The gateway in this process, in a thread of its own. Any number of threads may use it at once.

    ``close`` it, or use it in a ``with`` block; at the latest it closes itself when the program ends.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        tenant: str | None = None,
        config: Path | str | None = None,
        data_dir: Path | str | None = None,
        database_url: str | None = None,
    ):
        """Start the gateway: the arguments are those of ``AsyncClient``.

        Raises:
            ConfigError: A setting or the policy is wrong, or the data folder cannot be used. Nothing is left running.
        """
        self._engine = new_engine(api_key, tenant=tenant, config=config, data_dir=data_dir, database_url=database_url)
        self._thread = LoopThread("backstay client")
        self._finish = weakref.finalize(self, _finish, self._engine, self._thread, CLOSE_S)
        self._finish.atexit = False
        let_go_in_children(self._engine)
        try:
            self._thread.run(_open(self._engine))
        except BaseException:
            self.close()
            raise
        atexit.register(self._finish)  # after what is left at the end was registered, so that it comes first

    def close(self, limit_s: float = CLOSE_S) -> None:
        """End: calls that somebody reads may finish, the journal is shipped, within about ``limit_s`` each."""
        atexit.unregister(self._finish)
        if self._finish.detach() is not None:
            _finish(self._engine, self._thread, limit_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        operation: Operation,
        body: Mapping[str, Any] | bytes,
        *,
        wire: WireName | None = None,
        feature: str | None = None,
        tags: Sequence[str] = (),
        deadline_s: float | None = None,
        priority: Priority | None = None,
        tenant: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer[Chunks]:
        """Make one call, as ``AsyncClient.call``."""
        said = attribution_of(feature=feature, tags=tags, deadline_s=deadline_s, priority=priority, tenant=tenant)
        exchange, stream, whole = self._ask(write_request(operation, body, wire, said, headers or {}), None)
        return answer_of(exchange, stream, whole)

    def openai(self, **options: Any) -> "OpenAI":
        """Make OpenAI's client, whose requests stay in this process. ``options`` are its own.

        Raises:
            ConfigError: The package ``openai`` is not installed.
        """
        return build_sdk("openai", "OpenAI", self.transport, options)

    def anthropic(self, **options: Any) -> "Anthropic":
        """Make Anthropic's client, whose requests stay in this process. ``options`` are its own.

        Raises:
            ConfigError: The package ``anthropic`` is not installed.
        """
        return build_sdk("anthropic", "Anthropic", self.transport, options)

    def transport(self, library: Any) -> Any:
        """Make a transport for a ``Client`` of the module ``httpx`` or ``httpx2``, to use with another SDK."""
        return Transport(library, self._ask)

    def _ask(self, request: Request, patience_s: float | None) -> tuple[Exchange, Chunks, bytes | None]:
        exchange, whole = self._thread.run(_ask(self._engine, request, patience_s))
        return exchange, Chunks(self._engine, self._thread, exchange, patience_s), whole


async def _open(engine: Engine) -> None:
    await engine.open()


async def _ask(engine: Engine, request: Request, patience_s: float | None) -> tuple[Exchange, bytes | None]:
    exchange = await engine.ask(request, patience_s)
    return exchange, None if exchange.is_stream else await exchange.take()


def _finish(engine: Engine, thread: LoopThread, limit_s: float) -> None:
    """Close an engine and its thread. In a forked child, and on the thread itself, nothing can be done."""
    if not thread.can_wait:
        return
    try:
        thread.run(engine.close(limit_s))
    finally:
        thread.stop()
