"""Owns the client of programs with an event loop."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from backstay.client.answers import Answer, WireName, answer_of, attribution_of, write_request
from backstay.client.engine import CLOSE_S
from backstay.client.exchange import Exchange, Request
from backstay.client.opening import let_go_in_children, new_engine
from backstay.client.sdks import AsyncTransport, build_sdk
from backstay.client.streams import AsyncChunks
from backstay.core.caller import Priority
from backstay.providers import Operation

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI


class AsyncClient:
    """The gateway in this process, on the running event loop. Opens with its first call; ``close`` it at the end."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        tenant: str | None = None,
        config: Path | str | None = None,
        data_dir: Path | str | None = None,
        database_url: str | None = None,
    ):
        """Choose who calls, and which installation's books, keys and policy are used.

        Args:
            api_key: The key that calls are made with; ``None``: ``BACKSTAY_KEY``, else the operator of the data folder.
            tenant: Call as the operator, for this tenant, whatever ``BACKSTAY_KEY`` says.
            config: The policy file; ``None``: as for the server (``BACKSTAY_CONFIG``, ``./backstay.toml``).
            data_dir: The data folder; ``None``: as for the server.
            database_url: The Postgres; ``None``: ``BACKSTAY_DATABASE_URL``, else the data folder's own.

        Raises:
            ConfigError: A setting is wrong, or both a key and a tenant are given.
        """
        self._engine = new_engine(api_key, tenant=tenant, config=config, data_dir=data_dir, database_url=database_url)
        let_go_in_children(self._engine)

    async def open(self) -> None:
        """Start now and not with the first call, so that what is wrong is known.

        Raises:
            ConfigError: A setting or the policy is wrong, or the data folder cannot be used.
        """
        await self._engine.open()

    async def close(self, limit_s: float = CLOSE_S) -> None:
        """End: calls that somebody reads may finish, the journal is shipped, within about ``limit_s`` each."""
        await self._engine.close(limit_s)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def call(
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
    ) -> Answer[AsyncChunks]:
        """Make one call: the request and the answer are a vendor's JSON, as over HTTP. Errors are answers too.

        Args:
            wire: Whose JSON it is; ``None``: OpenAI's, or the only vendor's that has the operation.
            deadline_s: How long the whole answer may take.
            tenant: For whom the operator calls this time.

        Raises:
            ClientUnusable: The client is closed, of a parent process, or of another loop.
            ConfigError: As of ``open``.
        """
        said = attribution_of(feature=feature, tags=tags, deadline_s=deadline_s, priority=priority, tenant=tenant)
        exchange, stream, whole = await self._ask(write_request(operation, body, wire, said, headers or {}), None)
        return answer_of(exchange, stream, whole)

    def openai(self, **options: Any) -> "AsyncOpenAI":
        """Make OpenAI's client, whose requests stay in this process. ``options`` are its own.

        Raises:
            ConfigError: The package ``openai`` is not installed.
        """
        return build_sdk("openai", "AsyncOpenAI", self.transport, options)

    def anthropic(self, **options: Any) -> "AsyncAnthropic":
        """Make Anthropic's client, whose requests stay in this process. ``options`` are its own.

        Raises:
            ConfigError: The package ``anthropic`` is not installed.
        """
        return build_sdk("anthropic", "AsyncAnthropic", self.transport, options)

    def transport(self, library: Any) -> Any:
        """Make a transport for an ``AsyncClient`` of the module ``httpx`` or ``httpx2``, to use with another SDK."""
        return AsyncTransport(library, self._ask)

    async def _ask(self, request: Request, patience_s: float | None) -> tuple[Exchange, AsyncChunks, bytes | None]:
        exchange = await self._engine.ask(request, patience_s)
        whole = None if exchange.is_stream else await exchange.take()
        return exchange, AsyncChunks(self._engine, exchange, patience_s), whole
