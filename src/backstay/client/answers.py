"""Owns what a plain call of a client gives back, and how such a call is written as a request."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from backstay import api
from backstay.client.engine import IN_PROCESS
from backstay.client.exchange import Exchange, RawHeaders, Request
from backstay.core.errors import InvalidRequest
from backstay.providers import Operation

S = TypeVar("S")

WireName = Literal["openai", "anthropic"]


class Answer(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What the gateway answered, in the shape of the wire's vendor: a ``body``, or a ``stream`` of its events."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case: ``x-backstay-trace-id``, ``x-backstay-cost-usd`` and what else a caller over HTTP gets."""
    body: bytes | None
    """``None`` for a stream."""
    stream: S | None
    """``None`` where the answer is whole: an error always is."""

    def json(self) -> Any:
        """Read the body. Raises ``ValueError`` for a stream."""
        if self.body is None:
            raise ValueError("this answer is a stream: iterate over `stream`")
        return msgspec.json.decode(self.body)


def answer_of(exchange: Exchange, stream: S, body: bytes | None) -> Answer[S]:
    """Put an answer together; ``stream`` reads it where ``body`` is ``None``."""
    return Answer(
        status=exchange.status,
        headers=readable(exchange.headers),
        body=body,
        stream=stream if body is None else None,
    )


def readable(headers: RawHeaders) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def write_request(
    operation: Operation,
    body: Mapping[str, Any] | bytes,
    wire: WireName | None,
    attribution: Mapping[str, str | None],
    headers: Mapping[str, str],
) -> Request:
    """Write a call as the request that a caller over HTTP would have sent.

    Raises:
        InvalidRequest: The vendor's API has no such operation.
    """
    found = next((w for w in api.WIRES if w.operation == operation and wire in (None, w.dialect.name)), None)
    if found is None:
        raise InvalidRequest(f"There is no operation {operation!r} on the wire {wire or 'of any vendor'}.")
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {**headers, **{f"x-backstay-{name}": value for name, value in attribution.items() if value is not None}}
    sent = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in named.items()]
    credential = (b"authorization", b"Bearer " + IN_PROCESS.encode())
    return Request(
        method="POST",
        path=found.path,
        headers=[credential, (b"content-length", b"%d" % len(content)), *sent],
        body=content,
    )


def attribution_of(
    *, feature: str | None, tags: Sequence[str], deadline_s: float | None, priority: str | None, tenant: str | None
) -> dict[str, str | None]:
    """Name what a call may say of itself, as its headers are called."""
    return {
        "feature": feature,
        "tags": ",".join(tags) or None,
        "deadline-ms": None if deadline_s is None else str(deadline_s * 1000),
        "priority": priority,
        "tenant": tenant,
    }
