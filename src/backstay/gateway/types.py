"""Owns the nouns of the gateway: targets and models, what a wire hands in, and where the answer goes."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Protocol

import msgspec

from backstay.cache import CachePolicy, Directives
from backstay.core.caller import Caller, Priority
from backstay.core.money import NanoUSD
from backstay.core.routing import OnBrokenStream, Strategy
from backstay.gateway.tries import RetryPolicy
from backstay.providers import Dialect, Operation, Provider, Timeouts
from backstay.tracing import Span

Headers = Sequence[tuple[bytes, bytes]]


class Ability(msgspec.Struct, frozen=True, kw_only=True):
    """What a target can do, and for whom."""

    tools: bool = True
    images: bool = True
    json_schema: bool = True
    context_tokens: int | None = None
    """The longest prompt that it takes; ``None``: not known."""
    output_tokens: int | None = None
    """The longest answer that it gives; ``None``: as its model is known for."""
    tags: frozenset[str] | None = None
    """Only calls with one of these tags; ``None``: all."""
    tenants: frozenset[str] | None = None
    """Only calls of these tenants; ``None``: all."""


ANYTHING = Ability()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and its own name for a model."""

    name: str
    """``provider/model``."""
    provider: Provider
    model_id: str
    price_provider: str | None = None
    """Where the price is looked up: a provider id of ``genai-prices``; ``None``: only overrides can price it."""
    price_model: str
    default_tier: str | None = None
    """By which tier the provider serves calls that ask for none, where the operator says it."""
    is_free: bool = False
    """Whether its calls cost nothing unless the policy gives them a price."""
    default_geo: str | None = None
    """Where the provider serves calls that name no place, where the operator says it."""
    can: Ability = ANYTHING
    weight: float = 1.0
    """Its share of the traffic beside the other targets' weights."""
    stage: int = 0
    """Targets of a later stage, which are those of fallbacks, are tried after all of an earlier one."""
    timeouts: Timeouts = Timeouts()


class Degraded(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller gets when no target answers, marked as such: the first of these that there is."""

    cache_stale: bool = False
    """An equal request's answer, though it has expired."""
    target: Target | None = None
    message: str | None = None
    """A fixed text, after ``target`` has failed too or where there is none."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's targets are used."""

    strategy: Strategy = "priority"
    sticky: bool = False
    """Whether a user stays with one target, which keeps the provider's prompt cache warm."""
    retry: RetryPolicy = RetryPolicy()
    total_s: float | None = None
    """How long a call may take, with all its tries; ``None``: as long as the most patient of its targets allows."""
    hedge_share: float = 0.0
    """Share of the calls in which a second target may be asked beside one that is late; 0: none."""
    on_broken_stream: OnBrokenStream = "error"
    degraded: Degraded = Degraded()
    prompt_cache: bool = False
    """Whether prompts are marked for the provider's prompt cache, where it wants to be told."""
    is_conditional: bool = False
    """Whether some target cannot take every request."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use, and its targets."""

    name: str
    targets: tuple[Target, ...]
    route: Route = Route()
    cache: CachePolicy | None = None
    """``None``: its answers are not kept."""

    @property
    def all_targets(self) -> tuple[Target, ...]:
        """All that may ever answer: the one that stands in for the others too."""
        standing_in = self.route.degraded.target
        return self.targets if standing_in is None else (*self.targets, standing_in)

    @property
    def total_s(self) -> float:
        """How long a call may take, with all its tries."""
        if self.route.total_s is not None:
            return self.route.total_s
        return max(map(_PATIENCE, self.targets), default=0.0)


_PATIENCE = attrgetter("timeouts.total_s")


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
    deadline_s: float | None = None
    """How long the caller waits for the whole answer, in seconds from now; ``None``: as long as the model may take."""
    priority: Priority = "interactive"
    trace_id: str | None = None
    parent_id: str | None = None
    idempotency_key: str | None = None
    """What repeats of this request have in common; ``None``: each is a call of its own."""
    max_cost_nanousd: NanoUSD | None = None
    """The most that the caller will pay for it; ``None``: what its budgets allow."""
    job_id: str | None = None
    """The job that this is made for; its good answer goes into the journal, with what it cost."""
    batch_id: str | None = None
    """The batch that the job is a line of."""
    cache_control: Directives = Directives()
    is_shadow: bool = False
    """Whether it checks an answer that another call had from the cache."""
    observe: Callable[[Span], None] | None = None
    """Called with this call's span once it is recorded."""
    only_target: str | None = None
    """The one target that may answer, where it keeps the conversation that this goes on with."""


class Sink(Protocol):
    """Where the answer goes: one ``reply``; or ``begin`` and then ``write`` by ``write``, the last one with ``end``."""

    begun: bool
    """Whether anything was sent: from then on an error can only be told inside the stream."""

    async def reply(self, status: int, headers: Headers, body: bytes) -> None: ...

    async def begin(self, status: int, headers: Headers) -> None: ...

    async def write(self, chunk: bytes, *, end: bool = False) -> None: ...
