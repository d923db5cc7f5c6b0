"""Owns who is calling: the identity and rights that admission found for a request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, get_args

import msgspec

from backstay.core.money import NanoUSD

Right = Literal["call", "read", "admin"]
"""What a key may do: ``call`` models; ``read`` the traces and costs of its own calls; ``admin``: all of its tenant."""

DEFAULT_TENANT = "default"
"""The installation's own tenant: whose admins run it, and whom the operator acts for unless another is named."""

RIGHTS: tuple[Right, ...] = ("call", "read", "admin")

Priority = Literal["interactive", "batch"]
"""``interactive``: somebody waits for the answer. ``batch``: it can be had later."""

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""The highest first."""


class CallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be used, of what; ``None``: as much as there is."""

    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    concurrency: int | None = None
    """Calls at once."""


class Allowance:
    """The most that all calls together may cost which are made for one request: each may spend what those before left.

    Calls under one allowance are made one after another, so that no two count on the same money.
    """

    def __init__(self, most_nanousd: NanoUSD):
        self._left = int(most_nanousd)
        self._turns = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[NanoUSD]:
        """Wait until no other call is under way, and tell what is left."""
        async with self._turns:
            yield NanoUSD(self._left)

    def spend(self, cost_nanousd: NanoUSD | None) -> None:
        """Take off what a call has cost; ``None``: nobody knows, so that nothing may be left."""
        self._left = 0 if cost_nanousd is None else max(self._left - cost_nanousd, 0)


class CallTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks of the model calls that Backstay makes for it."""

    trace_id: str | None = None
    parent_id: str | None = None
    deadline_s: float | None = None
    allowance: Allowance | None = None
    """What they may cost together; ``None``: what budgets allow."""


NO_TERMS = CallTerms()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A key, or a person in the console, or the operator of the installation."""

    tenant_id: str
    kind: Literal["key", "person", "operator"]
    id: str
    name: str
    rights: frozenset[str]
    models: frozenset[str] | None = None
    """Model names that may be used; ``None`` means all."""
    routes: frozenset[str] | None = None
    """Wire paths that may be used, such as ``/v1/messages``; ``None`` means all."""
    feature: str | None = None
    """Default attribution where a request has none."""
    tags: tuple[str, ...] = ()
    priority: Priority = "interactive"
    """Of calls that name none."""
    principals: frozenset[str] | None = None
    """Whom it may search documents for; ``None`` means anybody."""
    limits: CallLimits | None = None
    """A key's own limits, over those of the policy."""
    role: Literal["admin", "editor", "reviewer", "viewer"] | None = None
    """Of a person."""
    terms: CallTerms = NO_TERMS
    """Of the request that is being answered."""

    def may(self, right: Right) -> bool:
        return right in self.rights or "admin" in self.rights
