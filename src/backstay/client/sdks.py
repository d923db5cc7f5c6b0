"""Owns the way from the vendors' SDKs into this process: transports for their HTTP library that need no network.

OpenAI's SDK up to 2 and Anthropic's up to 1 use ``httpx``, later ones its successor ``httpx2``, and each accepts
objects of its own library alone. Both have the same transports: what is made here is made for the one in use.
"""

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal

from backstay.client.engine import IN_PROCESS
from backstay.client.exchange import Exchange, Request
from backstay.client.streams import AsyncChunks, Chunks
from backstay.core.errors import ConfigError, ProviderUnreachable

_HOST = "http://backstay.in-process"
_BASE_URLS = {"openai": f"{_HOST}/v1", "anthropic": _HOST}

Ask = Callable[[Request, float | None], tuple[Exchange, Chunks, bytes | None]]
"""Send a request in; wait, with patience, for the answer: whole, or to be read piece by piece."""
AskAsync = Callable[[Request, float | None], Awaitable[tuple[Exchange, AsyncChunks, bytes | None]]]


def build_sdk(
    package: Literal["openai", "anthropic"],
    name: str,
    transport: Callable[[Any], Any],
    options: Mapping[str, Any],
) -> Any:
    """Make an SDK's client over a transport of ours.

    The gateway has retried already, with what it knows of every target: the SDK's own retries are off unless asked for.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        sdk: Any = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ConfigError(f"The package `{package}` is not installed. `pip install {package}` brings it.") from None
    http_client = sdk.DefaultAsyncHttpxClient if name.startswith("Async") else sdk.DefaultHttpxClient
    own: dict[str, Any] = {
        "api_key": IN_PROCESS,
        "base_url": _BASE_URLS[package],
        "max_retries": 0,
        "http_client": http_client(transport=transport(_http_library(http_client))),
    }
    return getattr(sdk, name)(**{**own, **options})


class Transport:
    """A transport for synchronous clients of an HTTP library."""

    def __init__(self, library: Any, ask: Ask):
        self._library = library
        self._ask = ask
        self._body = type("InProcessBody", (_Body, library.SyncByteStream), {})

    def handle_request(self, request: Any) -> Any:
        """Answer one request of the library. Raises the library's own ``ReadTimeout`` and ``RemoteProtocolError``."""
        try:
            exchange, stream, whole = self._ask(_read(request, request.read()), _patience_s(request))
        except (TimeoutError, ProviderUnreachable) as error:
            raise _mapped(self._library, error, request) from error
        body = {"stream": self._body(self._library, request, stream)} if whole is None else {"content": whole}
        return self._library.Response(exchange.status, headers=exchange.headers, request=request, **body)

    def close(self) -> None:
        """Do nothing: the gateway may serve other clients, and ends with the one that made this."""

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncTransport:
    """A transport for asynchronous clients of an HTTP library."""

    def __init__(self, library: Any, ask: AskAsync):
        self._library = library
        self._ask = ask
        self._body = type("InProcessBody", (_AsyncBody, library.AsyncByteStream), {})

    async def handle_async_request(self, request: Any) -> Any:
        """Answer one request of the library, as ``Transport.handle_request``."""
        try:
            exchange, stream, whole = await self._ask(_read(request, await request.aread()), _patience_s(request))
        except (TimeoutError, ProviderUnreachable) as error:
            raise _mapped(self._library, error, request) from error
        body = {"stream": self._body(self._library, request, stream)} if whole is None else {"content": whole}
        return self._library.Response(exchange.status, headers=exchange.headers, request=request, **body)

    async def aclose(self) -> None:
        """Do nothing, as ``Transport.close``."""

    async def __aenter__(self) -> "AsyncTransport":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Body:
    def __init__(self, library: Any, request: Any, chunks: Chunks):
        self._library = library
        self._request = request
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except (TimeoutError, ProviderUnreachable) as error:
            raise _mapped(self._library, error, self._request) from error

    def close(self) -> None:
        self._chunks.close()


class _AsyncBody:
    def __init__(self, library: Any, request: Any, chunks: AsyncChunks):
        self._library = library
        self._request = request
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except (TimeoutError, ProviderUnreachable) as error:
            raise _mapped(self._library, error, self._request) from error

    async def aclose(self) -> None:
        await self._chunks.aclose()


def _http_library(http_client: type) -> Any:
    """Find the library that an SDK's HTTP client is of."""
    roots = (base.__module__.partition(".")[0] for base in http_client.__mro__)
    return importlib.import_module(next(root for root in roots if root in ("httpx", "httpx2")))


def _read(request: Any, body: bytes) -> Request:
    return Request(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers=[(name.lower(), value) for name, value in request.headers.raw],
        body=body,
    )


def _patience_s(request: Any) -> float | None:
    """Return how long the SDK's caller waits for the next piece of the answer."""
    return request.extensions.get("timeout", {}).get("read")


def _mapped(library: Any, error: Exception, request: Any) -> Exception:
    if isinstance(error, TimeoutError):
        return library.ReadTimeout("The answer did not come in time.", request=request)
    return library.RemoteProtocolError(str(error), request=request)
