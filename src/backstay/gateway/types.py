"""Owns the nouns of the gateway: targets and models, what a wire hands in, and where the answer goes."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from backstay.core.caller import Caller
from backstay.providers import Dialect, Operation, Provider, Timeouts

Headers = Sequence[tuple[bytes, bytes]]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and its own name for a model."""

    name: str
    """``provider/model``."""
    provider: Provider
    model_id: str
    price_provider: str | None = None
    """Where the price is looked up: a provider id of ``genai-prices``; ``None``: only overrides can price it."""
    price_model: str
    is_free: bool = False
    """Whether its calls cost nothing unless the policy gives them a price."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use, and its targets in the order in which they are tried."""

    name: str
    targets: tuple[Target, ...]
    timeouts: Timeouts | None = None
    """``None`` leaves the provider's own."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """One request as a wire hands it in: the caller is known, the body is still as it came."""

    operation: Operation
    path: str
    dialect: Dialect
    caller: Caller
    body: bytes
    forward: Mapping[str, str] = {}
    """Headers that the vendor understands, to be sent on where the target speaks the caller's dialect."""
    feature: str | None = None
    tags: tuple[str, ...] = ()
    trace_id: str | None = None
    parent_id: str | None = None
    only_target: str | None = None
    """The one target that may answer, where it keeps the conversation that this goes on with."""


class Sink(Protocol):
    """Where the answer goes: one ``reply``; or ``begin`` and then ``write`` by ``write``, the last one with ``end``."""

    begun: bool
    """Whether anything was sent: from then on an error can only be told inside the stream."""

    async def reply(self, status: int, headers: Headers, body: bytes) -> None: ...

    async def begin(self, status: int, headers: Headers) -> None: ...

    async def write(self, chunk: bytes, *, end: bool = False) -> None: ...
