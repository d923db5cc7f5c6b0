"""Owns the getting of a document from somebody else's server: from an address that was checked, and not too much."""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httptools

from backstay.core.errors import BackstayError, InvalidRequest, NotFound
from backstay.jobs.webhooks import Place, is_public

_LONGEST_URL = 2048
_URL = re.compile(r"[\x21-\x7e]+")
_LOOKUP_S = 5.0
_CONNECT_S = 15.0
_SILENCE_S = 30.0
_LONGEST_S = 300.0
_REDIRECTS = 5
_MOST_HEAD_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024
_WORTH_ANOTHER = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_MOVED = frozenset({301, 302, 303, 307, 308})

_SUFFIXES: Mapping[str, str] = {
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/rtf": ".rtf",
    "text/rtf": ".rtf",
    "application/epub+zip": ".epub",
    "message/rfc822": ".eml",
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "application/json": ".json",
    "application/xml": ".xml",
    "text/xml": ".xml",
}
"""What a document of a media type is named like. Source: IANA's registry of media types (2026-09)."""
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream", "text/plain"})
"""What servers say of files that they know nothing of: the end of the path tells more."""


class FetchRefused(InvalidRequest):
    """This address may not be fetched, or nothing that can be read is there."""

    code = "fetch_refused"


class FetchFailed(BackstayError):
    """The server that this document is on did not give it just now. It is tried again."""

    code = "fetch_failed"
    status = 502
    retryable = True


class Fetcher:
    """Gets documents over HTTP, from public addresses, and from hosts that the settings name."""

    def __init__(self, named_hosts: Collection[str], tls: ssl.SSLContext, *, most_bytes: int):
        self._named_hosts = named_hosts
        self._tls = tls
        self._most_bytes = most_bytes

    async def fetch(self, url: str, into: IO[bytes]) -> str:
        """Write what is at an address into a file, redirects followed, and return what such a file would be named.

        Raises:
            NotFound: It is not there, or not any more.
            FetchRefused: It is inside the network, too large, or no document.
            FetchFailed: There was no answer, or one that says to come back.
        """
        try:
            async with asyncio.timeout(_LONGEST_S):
                for _ in range(_REDIRECTS + 1):
                    got = await self._get(url, into)
                    if got.status not in _MOVED:
                        return _judge(url, got)
                    url = urljoin(url, got.headers.get("location", ""))
        except ssl.SSLCertVerificationError as error:
            raise FetchRefused(f"{url}: its certificate is not trusted: {error.verify_message.rstrip('.')}.") from None
        except TimeoutError:
            raise FetchFailed(f"{url}: the server was too slow.") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise FetchFailed(f"{url}: the server could not be reached: {type(error).__name__}.") from None
        raise FetchRefused(f"{url}: it leads on from one address to another, more than {_REDIRECTS} times.")

    async def _get(self, url: str, into: IO[bytes]) -> "_Got":
        place = self._place(url)
        async with asyncio.timeout(_CONNECT_S):
            address = await self._address(url, place)
            reader, writer = await asyncio.open_connection(
                address, place.port, ssl=self._tls if place.is_tls else None,
                server_hostname=place.host if place.is_tls else None,
            )  # fmt: skip
        try:
            writer.write(
                f"GET {place.target} HTTP/1.1\r\nhost: {place.authority}\r\nuser-agent: Backstay\r\n"
                "accept: */*\r\naccept-encoding: identity\r\nconnection: close\r\n\r\n".encode()
            )
            await writer.drain()
            into.seek(0)
            into.truncate()
            return await self._read(url, reader, into)
        finally:
            writer.close()

    async def _read(self, url: str, reader: asyncio.StreamReader, into: IO[bytes]) -> "_Got":
        got = _Got()
        parser = httptools.HttpResponseParser(got)
        size = head = 0
        while not got.is_whole:
            async with asyncio.timeout(_SILENCE_S):
                data = await reader.read(_PIECE_BYTES)
            if not data:
                if got.headers.keys() & {"content-length", "transfer-encoding"} or not got.status:
                    raise FetchFailed(f"{url}: the server broke off in the middle.")
                break
            try:
                parser.feed_data(data)
            except httptools.HttpParserError:
                raise FetchRefused(f"{url}: what answers there does not speak HTTP.") from None
            got.status = got.status or (parser.get_status_code() if got.has_head else 0)
            head += 0 if got.has_head else len(data)
            size += sum(map(len, got.body))
            if size > self._most_bytes or head > _MOST_HEAD_BYTES:
                raise FetchRefused(
                    f"{url}: it has more than {self._most_bytes // 1024**2} MiB, the most that is taken."
                )
            into.writelines(got.body)
            got.body.clear()
        return got

    def _place(self, url: str) -> Place:
        try:
            parts: SplitResult = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise FetchRefused(f"{url[:100]!r} is not a URL.") from None
        if parts.scheme not in ("http", "https") or not host or parts.username is not None:
            raise FetchRefused(f"{url[:100]!r} is not an http:// or https:// URL without a credential.")
        if len(url) > _LONGEST_URL or _URL.fullmatch(url) is None:
            raise FetchRefused(f"{url[:100]!r} is not a URL of at most {_LONGEST_URL} ASCII characters.")
        is_tls = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Place(
            host=host,
            port=port or (443 if is_tls else 80),
            is_tls=is_tls,
            target=target,
            is_named=host in self._named_hosts,
        )

    async def _address(self, url: str, place: Place) -> str:
        """Look a host up, and return the address to connect to, which is not looked up again."""
        try:
            addresses = [str(ipaddress.ip_address(place.host))]
        except ValueError:
            addresses = await _look_up(url, place)
        if not place.is_named and not all(map(is_public, addresses)):
            raise FetchRefused(
                f"{url}: the host {place.host} is inside the network. An operator may name it in BACKSTAY_INGEST_HOSTS."
            )
        return addresses[0]


async def _look_up(url: str, place: Place) -> list[str]:
    try:
        async with asyncio.timeout(_LOOKUP_S):
            found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        raise FetchFailed(f"{url}: the host {place.host} cannot be found.") from None
    return [str(each[4][0]) for each in found]


class _Got:
    """An answer, as the parser tells of it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.has_head = False
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = True


def _judge(url: str, got: _Got) -> str:
    """Return the name of what was got. Raises as ``fetch`` where it is no document."""
    if got.status in _WORTH_ANOTHER:
        raise FetchFailed(f"{url}: the server answered {got.status}.")
    if got.status in _GONE:
        raise NotFound(f"{url}: it is not there: the server answered {got.status}.")
    if not 200 <= got.status < 300:
        raise FetchRefused(f"{url}: the server answered {got.status}.")
    media_type = got.headers.get("content-type", "").partition(";")[0].strip().lower()
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if media_type in _UNTOLD and PurePosixPath(name).suffix:
        return name
    suffix = _SUFFIXES.get(media_type, "" if media_type in _UNTOLD or media_type.startswith("text/") else None)
    if suffix is None:
        raise FetchRefused(f"{url}: it is {media_type}, which is not read.")
    return f"{PurePosixPath(name).stem or 'page'}{suffix or '.txt'}"
