"""Owns talking to a running server over HTTP: JSON, server-sent events, and problem details turned into sentences."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, urlencode, urlsplit

from backstay import __version__
from backstay.cli.exits import Unreachable
from backstay.core.errors import BackstayError, ConfigError

Query = Mapping[str, str | int | None]


class ServerError(BackstayError):
    """The server answered with an error."""

    def __init__(self, message: str, *, status: int, code: str):
        super().__init__(message)
        self.status = status
        self.told_code = code
        """The server's own code for it."""


class Client:
    """A server at ``url``, spoken to with one credential."""

    def __init__(self, url: str, *, token: str | None = None, tenant: str | None = None, timeout_s: float = 30.0):
        parts = read_url(url)
        self.url = parts.geturl().rstrip("/")
        self._parts = parts
        self._timeout_s = timeout_s
        self.headers = {"user-agent": f"backstay-cli/{__version__}", "accept": "application/json"}
        if token:
            self.headers["authorization"] = f"Bearer {token}"
        if tenant:
            self.headers["x-backstay-tenant"] = tenant

    def get(self, path: str, query: Query | None = None, *, timeout_s: float | None = None) -> Any:
        """Ask, and return the decoded JSON answer."""
        with self.open("GET", path, query=query, timeout_s=timeout_s) as response:
            return _decode(response)

    def post(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
    ) -> Any:
        with self.open("POST", path, body=body or {}, headers=headers, timeout_s=timeout_s) as response:
            return _decode(response)

    def put_file(self, path: str, file: Path, *, query: Query, timeout_s: float) -> Any:
        """Send a file as it is, piece by piece, and return the decoded JSON answer. Raises as ``open``."""
        with file.open("rb") as data:
            length = {"content-type": "application/octet-stream", "content-length": str(file.stat().st_size)}
            with self.open("PUT", path, query=query, headers=length, raw=data, timeout_s=timeout_s) as response:
                return _decode(response)

    @contextmanager
    def open(
        self, method: str, path: str, *, query: Query | None = None, body: Any = None,
        headers: Mapping[str, str] | None = None, timeout_s: float | None = None, raw: IO[bytes] | None = None,
    ) -> Generator[HTTPResponse]:  # fmt: skip
        """Send a request and give the open answer, whose status is good.

        Raises:
            Unreachable: No server answers there, or the connection broke.
            ServerError: It answered with an error; the message is the server's sentence.
            ConfigError: The credential, the tenant or another header cannot be sent.
        """
        asked = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        target = self._parts.path.rstrip("/") + path + ("?" + asked if asked else "")
        sent = {name: _header(name, value) for name, value in {**self.headers, **(headers or {})}.items()}
        if body is not None:
            sent["content-type"] = b"application/json"
        connection = self._connect(timeout_s or self._timeout_s)
        try:
            connection.request(method, target, raw if body is None else json.dumps(body).encode(), sent)
            response = connection.getresponse()
            if response.status >= 400:
                raise _error(response)
            yield response
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> HTTPConnection:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=timeout_s)

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, TimeoutError):
            return Unreachable(f"{self.url} did not answer in time.")
        if isinstance(error, ConnectionRefusedError):
            return Unreachable(f"No server answers at {self.url}. `backstay serve` starts one; --url names another.")
        return Unreachable(f"{self.url} cannot be reached: {error or type(error).__name__}.")


def read_url(url: str) -> SplitResult:
    """Read where a server is; ``http://`` may be left out.

    Raises:
        ConfigError: That is not the URL of a server.
    """
    wrong = ConfigError(f"{url!r} is not the URL of a server. Write it like http://127.0.0.1:8400.")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise wrong from None
    if not sound:
        raise wrong
    return parts


_WHAT = {
    "authorization": "The credential (BACKSTAY_TOKEN)",
    "x-backstay-tenant": "The tenant's name (--tenant)",
    "x-backstay-feature": "The feature's name (--feature)",
}
"""What people know a header by."""


def _header(name: str, value: str) -> bytes:
    """Write a header's value; the value itself is not told, as it may be a secret."""
    if not value.isprintable():
        raise ConfigError(f"{_WHAT.get(name, name)} holds a line break or another control character. Take it out.")
    return value.encode("utf-8", "replace")


def events(response: HTTPResponse) -> Iterator[str]:
    """Iterate over the data of a stream of server-sent events, as they arrive."""
    data: list[str] = []
    for line in response:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
        elif not text and data:
            yield "\n".join(data)
            data = []


def _decode(response: HTTPResponse) -> Any:
    body = response.read()
    try:
        return json.loads(body)
    except ValueError as error:
        raise BackstayError("The answer is not JSON: is that URL a Backstay server?") from error


def _error(response: HTTPResponse) -> ServerError:
    """Read problem details (RFC 9457), or the error of a vendor's wire, as one sentence."""
    try:
        told: Any = json.loads(response.read())
        problem = told.get("error") or told
        message, code = problem.get("detail") or problem.get("message"), problem.get("code")
    except (ValueError, AttributeError):
        message = code = None
    return ServerError(
        str(message or f"The server answered {response.status} {response.reason}."),
        status=response.status,
        code=str(code or "unknown"),
    )
