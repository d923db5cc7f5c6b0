"""Owns the sending of one message to somebody else's server: to an address that was checked, and nowhere else."""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from backstay.core.errors import BackstayError, ConfigError
from backstay.jobs.webhooks import Place, find_address, read_url

_ANSWER_S = 15.0
"""How long a receiver may take. Source: Standard Webhooks: 15 to 30 seconds (2024-06)."""


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    status: int | None = None
    """The receiver's; ``None``: there was no answer."""
    problem: str | None = None
    """In a sentence, why the receiver does not have it; ``None``: it has."""


class Poster:
    """Posts JSON to receivers."""

    def __init__(self, named_hosts: Collection[str], ca_file: Path | None = None):
        """Take what may be reached.

        Args:
            named_hosts: Those that may be inside the network, and without TLS.
            ca_file: Authorities that are trusted beside the system's.

        Raises:
            ConfigError: The file is none of certificates.
        """
        self._named_hosts = named_hosts
        self._tls = trusting(ca_file)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Post a body, with these headers beside those that it needs. It never raises for what a receiver does."""
        try:
            status = await self._post(url, body, headers)
        except BackstayError as error:
            return Posted(problem=error.message)
        except ssl.SSLCertVerificationError as error:
            untrusted = error.verify_message.rstrip(".")
            return Posted(problem=f"The receiver's certificate is not trusted: {untrusted}.")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            return Posted(problem=f"The receiver could not be reached: {type(error).__name__}.")
        return Posted(status=status, problem=None if 200 <= status < 300 else f"The receiver answered {status}.")

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        place = read_url(url, self._named_hosts)
        head = {
            "host": place.authority,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "Backstay",
            "connection": "close",
            **headers,
        }
        async with asyncio.timeout(_ANSWER_S):
            return await _exchange(place, await find_address(place), self._tls, head, body)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the system's authorities and those of a file. Raises ``ConfigError`` if it is none of certificates."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise ConfigError(f"BACKSTAY_WEBHOOK_CA: {ca_file} is not a PEM file of certificates: {error}.") from error
    return context


async def _exchange(place: Place, address: str, tls: ssl.SSLContext, headers: Mapping[str, str], body: bytes) -> int:
    """Post to an address that was found to be allowed, and read the status alone: redirects are not followed."""
    reader, writer = await asyncio.open_connection(
        address, place.port, ssl=tls if place.is_tls else None, server_hostname=place.host if place.is_tls else None
    )
    try:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST {place.target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await writer.drain()
        status_line = (await reader.readline()).split(b" ", 2)
        if len(status_line) < 2 or not status_line[0].startswith(b"HTTP/1."):
            raise ValueError("the receiver does not speak HTTP")
        return int(status_line[1])
    finally:
        writer.close()
