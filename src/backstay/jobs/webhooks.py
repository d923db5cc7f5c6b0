"""Owns what a webhook is: where it may go, how it is signed, when it is tried again. Pure, but for looking names up.

Source: Standard Webhooks, https://github.com/standard-webhooks/standard-webhooks (2024-06), for headers, signature and
pauses.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import msgspec

from backstay.core.errors import InvalidRequest

PAUSES_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Before each try after the first."""

_LONGEST_URL = 2048
_URL = re.compile(r"[\x21-\x7e]+")
_LOOKUP_S = 5.0
_INSIDE_THOUGH_GLOBAL = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's platform services, on every virtual machine
    ipaddress.ip_network("192.0.0.0/24"),  # the IETF's own; Oracle's metadata is at 192.0.0.192
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.ip_network("fec0::/10"),  # site-local, as was
    ipaddress.ip_network("64:ff9b::/96"),  # NAT64: any IPv4 address, private ones too
    ipaddress.ip_network("2002::/16"),  # 6to4: the same
    ipaddress.ip_network("2001::/32"),  # Teredo: the same
)


class WebhookRefused(InvalidRequest):
    """This webhook's address is not one that may be called. Use a public https:// address."""

    code = "webhook_refused"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a webhook goes, taken apart."""

    host: str
    port: int
    is_tls: bool
    target: str
    """Path and query."""
    is_named: bool
    """Whether the settings name its host, so that it may be inside the network."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


def read_hosts(text: str) -> frozenset[str]:
    """Read the setting that names hosts."""
    return frozenset(host.strip().lower() for host in text.split(",") if host.strip())


def read_url(url: str, named_hosts: Collection[str]) -> Place:
    """Take a webhook's URL apart; ``named_hosts`` may be called without TLS and inside the network.

    Raises:
        WebhookRefused: It is none, or not https, or has a credential in it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise WebhookRefused(f"{url[:100]!r} is not a URL.", param="x-backstay-webhook") from None
    if len(url) > _LONGEST_URL or _URL.fullmatch(url) is None or not host or parts.username is not None:
        raise WebhookRefused(
            f"A webhook is a URL of at most {_LONGEST_URL} ASCII characters, without a credential.",
            param="x-backstay-webhook",
        )
    is_named = host in named_hosts
    if parts.scheme != "https" and not (is_named and parts.scheme == "http"):
        raise WebhookRefused("A webhook's URL must begin with https://.", param="x-backstay-webhook")
    is_tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host=host, port=port or (443 if is_tls else 80), is_tls=is_tls, target=target, is_named=is_named)


async def find_address(place: Place) -> str:
    """Look a webhook's host up, and return the address to connect to. It is to be used as it is, not looked up again.

    Raises:
        WebhookRefused: There is no such host, or any of its addresses is not public: who answers for the name could
            choose between them at will.
    """
    try:
        async with asyncio.timeout(_LOOKUP_S):
            found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        raise WebhookRefused(f"The host {place.host} cannot be found.", param="x-backstay-webhook") from None
    addresses: Sequence[str] = [str(each[4][0]) for each in found]
    if not place.is_named and not all(map(is_public, addresses)):
        raise WebhookRefused(
            f"The host {place.host} is inside the network. An operator may name it in BACKSTAY_WEBHOOK_HOSTS.",
            param="x-backstay-webhook",
        )
    return addresses[0]


def is_public(address: str) -> bool:
    """Tell whether an address is one of the internet's: not private, loopback, link-local, shared, or multicast."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if any(parsed in network for network in _INSIDE_THOUGH_GLOBAL if network.version == parsed.version):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def secret_of(installation_secret: bytes, salt: bytes) -> bytes:
    """Make a tenant's secret, 32 bytes: what the database holds does not tell it."""
    return hmac.digest(installation_secret, b"webhook\0" + salt, hashlib.sha256)


def write_secret(secret: bytes) -> str:
    """Write a secret as receivers' libraries take it."""
    return "whsec_" + base64.b64encode(secret).decode()


def sign(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Sign a message with each of the secrets that are in force."""
    text = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(secret, text, hashlib.sha256)).decode() for secret in secrets)


def pause_after(status: int | None, tries: int) -> float | None:
    """Say how long to wait after a try that failed, with this status or no answer; ``None``: it was the last."""
    if status == 410 or tries > len(PAUSES_S):
        return None
    return PAUSES_S[tries - 1]
