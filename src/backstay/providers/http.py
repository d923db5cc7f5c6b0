"""Owns HTTP to providers: one exchange over a shared session, with its deadlines, bounds and errors.

Bytes pass through untouched in both directions. A connection goes back to the pool when its answer was read to the
end, and is cut at once when the answer is given up.
"""

import os
from collections.abc import AsyncIterator, Mapping
from http.cookies import BaseCookie, SimpleCookie
from typing import NoReturn, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from backstay import __version__
from backstay.core.errors import ProviderTimeout, ProviderUnreachable, ProviderUnreadable, Untranslatable
from backstay.providers.deadlines import Deadline, Deadlines
from backstay.providers.paths import PATHS, Paths, fill_model, join_path
from backstay.providers.secrets import REDACTED, Secret
from backstay.providers.types import Body, Dialect, Framing, ProviderRequest, Timeouts
from backstay.providers.upload import STREAMED_UPLOAD_BYTES, Upload

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Longest whole answer taken, in bytes: a full batch of embeddings fits."""

_MOST_TIMEOUTS = 64
"""Kept ready."""


class Signer(Protocol):
    """Makes the headers that prove who sends a request, from the request itself."""

    async def sign(self, url: URL, body: Body) -> Mapping[str, str]:
        """Raises ``ProviderError`` where there is no credential to sign with."""
        ...


class _NoCookies(aiohttp.DummyCookieJar):
    """Keeps none, and does not make an empty jar for each request either."""

    _none: "SimpleCookie" = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> "BaseCookie[str]":
        return self._none


def open_session() -> aiohttp.ClientSession:
    """Open the session that all providers of a worker share. Proxies of the environment are used if there are any."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
        cookie_jar=_NoCookies(),
        trust_env=bool(getproxies()),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=True,
    )


class HttpProvider:
    """A provider behind HTTP."""

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[Secret, ...] = (),
        timeouts: Timeouts | None = None,
        price_provider: str | None = None,
        is_free: bool = False,
        reports_stream_usage: bool = True,
        responses: bool = False,
        paths: Paths | None = None,
        signer: Signer | None = None,
    ):
        """Describe a provider.

        Args:
            session: Shared with others; closing the provider leaves it open.
            headers: Sent with every request; they win over the caller's.
            secrets: Cut out of error answers.
            timeouts: Used where a request brings none.
            responses: Whether it serves OpenAI's responses API beside its dialect.
            paths: Where the operations are, unless where the dialect has them.
            signer: For vendors that want each request signed.
        """
        self.name = name
        self.dialect = dialect
        self.speaks = frozenset({dialect.name, "responses"} if responses else {dialect.name})
        self.problem: str | None = None
        self.price_provider = price_provider
        self.is_free = is_free
        self.reports_stream_usage = reports_stream_usage
        self.server_address = urlsplit(base_url).hostname or ""
        self._session = session
        self._secrets = tuple(secret.reveal().encode() for secret in secrets)
        self._timeouts = timeouts or Timeouts()
        self._signer = signer
        places = {dialect.name: PATHS[dialect.name] if paths is None else paths}
        if responses:
            places["responses"] = PATHS["responses"]
        self._urls = _urls(base_url, places)
        own = {"content-type": "application/json", "user-agent": f"backstay/{__version__}", **(headers or {})}
        self._headers = {False: CIMultiDict(own), True: CIMultiDict({**own, "accept-encoding": "identity"})}
        """By whether a stream is wanted: compressing one would hold its pieces back."""
        self._client_timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._deadlines = Deadlines()

    def url_of(self, request: ProviderRequest) -> URL:
        """Return where a request goes. Raises ``Untranslatable`` if the dialect has no such operation."""
        dialect = request.dialect or self.dialect.name
        template = self._urls.get((dialect, f"{request.operation} stream")) if request.stream else None
        template = template or self._urls.get((dialect, request.operation))
        if template is None:
            raise Untranslatable(f"{self.name} has no endpoint for {request.operation}.", param="model")
        url = template if isinstance(template, URL) else URL(fill_model(template, request.model_id), encoded=True)
        return url if request.resource is None else url / request.resource

    async def send(self, request: ProviderRequest) -> "HttpExchange":
        """Start an exchange and return when the answer's status and headers are there, whatever the status.

        Raises:
            ProviderUnreachable: No connection, or it broke.
            ProviderTimeout: The connection, or a stream's first piece, took too long.
            ProviderError: There is no credential to sign it with.
            Untranslatable: The provider's dialect has no such operation.
        """
        timeouts = request.timeouts or self._timeouts
        deadline = Deadline(self._deadlines, timeouts, stream=request.stream)
        try:
            with deadline:
                response = await self._request(request, timeouts)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._explain(error, timeouts)
        secrets = self._secrets if response.status >= 400 else ()
        return HttpExchange(response, deadline, secrets, self.dialect.framing)

    async def _request(self, request: ProviderRequest, timeouts: Timeouts) -> aiohttp.ClientResponse:
        url, own, body = self.url_of(request), self._headers[request.stream], request.body
        if self._signer is not None:
            own = CIMultiDict({**own, **await self._signer.sign(url, body)})
        return await self._session.request(
            request.method,
            url,
            data=None if request.method == "GET" else _data(body),
            headers={**request.headers, **own} if request.headers else own,
            allow_redirects=False,
            timeout=self._client_timeout(timeouts.connect_s),
        )

    def _client_timeout(self, connect_s: float) -> aiohttp.ClientTimeout:
        """Bound the connecting, which the client alone can see; all else has a ``Deadline``."""
        found = self._client_timeouts.get(connect_s)
        if found is None:
            found = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
            if len(self._client_timeouts) < _MOST_TIMEOUTS:  # a call's deadline makes limits that never come again
                self._client_timeouts[connect_s] = found
        return found

    def _explain(self, error: Exception, timeouts: Timeouts) -> NoReturn:
        """Raise the error that an exception of the HTTP client stands for."""
        match error:
            case aiohttp.ConnectionTimeoutError():
                message = f"{self.name} could not be connected to within {timeouts.connect_s:g} s."
                raise ProviderTimeout(message) from error
            case TimeoutError():
                raise ProviderTimeout(f"{self.name} did not begin to answer in time.") from error
            case aiohttp.ClientConnectorDNSError():
                raise ProviderUnreachable(f"{self.name} cannot be found: no address for its host.") from error
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                raise ProviderUnreachable(f"{self.name} has no valid TLS certificate.") from error
            case aiohttp.ClientConnectorError():
                raise ProviderUnreachable(f"{self.name} cannot be connected to: {_reason(error)}.") from error
            case _:
                raise ProviderUnreachable(f"The connection to {self.name} broke: {_reason(error)}.") from error

    async def close(self) -> None:
        """Do nothing: the session is the worker's."""


def _urls(base_url: str, places: Mapping[str, Paths]) -> dict[tuple[str, str], URL | str]:
    """Say where each operation of each dialect is."""
    return {
        (dialect, operation): _url(join_path(base_url, path))
        for dialect, paths in places.items()
        for operation, path in paths.items()
    }


def _url(template: str) -> URL | str:
    """Read a URL once and for all, unless the model's name is a part of it."""
    return template if "{model}" in template else URL(template, encoded=True)


def _data(body: Body) -> bytes | Upload:
    return body if isinstance(body, bytes) and len(body) < STREAMED_UPLOAD_BYTES else Upload(body)


def _reason(error: Exception) -> str:
    """Describe what went wrong, without addresses and without anything that the other side sent."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    # Not its own words: asyncio's say where the connection was to go.
    return os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else type(cause).__name__


class HttpExchange:
    """An answer whose headers have arrived."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        deadline: Deadline,
        secrets: tuple[bytes, ...],
        framing: Framing,
    ):
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._deadline = deadline
        self._secrets = secrets
        self._framing = framing

    async def read(self) -> bytes:
        """Read the whole body, decompressed.

        Raises:
            ProviderUnreachable: The connection broke.
            ProviderTimeout: It took longer than ``total_s``.
            ProviderError: It is larger than ``MAX_ANSWER_BYTES``.
        """
        response = self._response
        length = response.content_length
        is_bounded = length is not None and length <= MAX_ANSWER_BYTES and "content-encoding" not in response.headers
        try:
            with self._deadline:
                body = await (response.read() if is_bounded else self._read_bounded())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._give_up(error)
        for secret in self._secrets:
            body = body.replace(secret, REDACTED.encode())
        return body

    async def _read_bounded(self) -> bytes:
        body = bytearray()
        async for chunk in self._response.content.iter_any():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                self._response.close()
                message = f"The provider's answer is larger than {MAX_ANSWER_BYTES} bytes."
                raise ProviderUnreadable(message, retryable=False)
        return bytes(body)

    async def frames(self) -> AsyncIterator[bytes]:
        """Iterate over the stream's whole frames as they arrive.

        Raises:
            ProviderUnreachable: The connection broke, or ended inside a frame.
            ProviderTimeout: The first piece, the next or the end took too long.
            ProviderError: It is no event stream, or a frame is damaged or larger than the bound.
        """
        content, deadline, splitter = self._response.content, self._deadline, self._framing.splitter()
        if self._response.content_type == "application/json":
            raise ProviderUnreadable("The provider answered a request for a stream with one JSON document.")
        while True:
            try:
                chunk = content.read_nowait()
                if not chunk:
                    with deadline:
                        chunk = await content.readany()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                self._give_up(error)
            if not chunk:
                break
            deadline.piece_came()
            if deadline.is_over():  # a stream without pauses never waits, so no wait ends it
                self._give_up(TimeoutError())
            for frame in splitter.feed(chunk):
                yield frame
        last = splitter.end()
        if last:
            yield last

    def _give_up(self, error: Exception) -> NoReturn:
        self._response.close()
        if isinstance(error, TimeoutError):
            raise ProviderTimeout("The provider's answer stalled.") from error
        raise ProviderUnreachable(f"The provider's answer broke off: {_reason(error)}.") from error

    async def close(self) -> None:
        """Give the connection back if the answer was read to its end, else cut it at once."""
        self._response.close()


def auth_headers(style: str, key: Secret | None) -> dict[str, str]:
    """Write the header that carries a key, in a vendor's style."""
    if key is None:
        return {}
    return {"authorization": f"Bearer {key.reveal()}"} if style == "bearer" else {style: key.reveal()}
