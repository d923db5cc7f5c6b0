"""Owns the nouns of the cache: what a model's policy allows, one question to it, and the answer that is kept."""

from typing import Literal

import msgspec

from backstay.core.money import NanoUSD
from backstay.core.usage import Usage

Scope = Literal["tenant", "feature", "key", "user"]
"""Who may share an answer: all of a tenant, or within it those of one feature, one key, or one end user."""

HitKind = Literal["hit", "semantic", "stale"]
"""``stale``: an equal request's answer that had expired, given because no target answered."""


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept for one model, and for how long."""

    exact: bool = False
    ttl_s: int = 3600
    stale_s: int = 0
    """How long an expired answer stays, for when no target answers; 0: it does not."""
    max_bytes: int = 64 * 1024 * 1024
    """Of all that one tenant keeps for the model."""
    max_answer_bytes: int = 1024 * 1024
    scope: Scope = "tenant"
    max_temperature: float | None = None
    """Requests of a higher temperature pass by the cache; ``None``: none do."""
    wait_s: float = 30.0
    """Longest wait for the same question of another caller."""
    semantic: bool = False
    """Whether questions that mean the same share an answer, once it is shown how alike they must be."""
    shadow: float = 0.0
    """Share of the semantic hits of which the model is asked too, to compare."""
    targets: tuple[str, ...] = ()
    """The model's targets: another list of them means other answers."""


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller's ``cache-control`` header asks for. Source: RFC 9111, section 5.2.1 (2022-06)."""

    no_store: bool = False
    """Neither answer from the cache nor keep the answer."""
    no_cache: bool = False
    """Ask the model; its answer takes the place of the one that was kept."""
    only_if_cached: bool = False
    max_age_s: int | None = None
    exact_only: bool = False
    """Whether only an equal request's answer will do. No header says so: Backstay's own calls may."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the cache sees it."""

    tenant_id: str
    key: bytes
    """SHA-256 of all that the answer depends on, and of who may share it: 32 bytes."""
    model: str
    feature: str | None
    policy: CachePolicy
    directives: Directives = Directives()
    context: bytes = b""
    """SHA-256 of all but the last thing that the user said: only within one are questions compared."""
    question: str | None = None
    """The last thing that the user said, where it alone is text; ``None`` where questions are not compared."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A good answer, whole, as it went over the wire of its dialect: unknown fields are still there."""

    dialect: str
    body: bytes
    usage: Usage
    target: str
    trace_id: str
    """The trace of the call that the model answered."""
    cost_nanousd: NanoUSD | None
    """What that call cost, and each hit saves; ``None`` where it is unknown."""
    created_ns: int
    """When the model answered, in nanoseconds since the epoch."""
    expires_ns: int
    keep_until_ns: int = 0
    """Until when it may be given where no target answers; before ``expires_ns``: not after that."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that need not be asked for."""

    answer: Answer
    kind: HitKind
    age_s: int
    score: float | None = None
    """Of a semantic hit: how sure the verifier was, 0 to 1."""
    question: str | None = None
    """Of a semantic hit: the question that the answer was given to."""
    asked: str | None = None
    """Of a semantic hit: the question that was asked now. ``None`` for who waited while another asked."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell the caller of it."""
        return [
            (b"x-backstay-cache", self.kind.encode()),
            (b"x-backstay-cache-trace-id", self.answer.trace_id.encode()),
            (b"age", str(self.age_s).encode()),
        ]


class LabelledPair(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a question ``b`` may have the answer to ``a``."""

    a: str
    b: str
    same: bool


class Purge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which answers of a tenant are to go: those that meet every condition that is given."""

    tenant_id: str
    model: str | None = None
    feature: str | None = None
    trace_id: str | None = None
    """Of the call that the model answered."""
    before_ns: int | None = None
    """Only what the model answered before this moment."""
    keys: tuple[bytes, ...] | None = None
