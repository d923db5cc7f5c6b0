"""Owns the nouns of limits: what is limited, what a worker asks of the book and is told. Times in microseconds."""

from typing import Literal

import msgspec

ScopeKind = Literal["key", "user", "tenant", "feature"]
"""Whose calls are counted together: those of a key, of an end user, of the whole tenant, of a feature."""

SCOPE_KINDS: tuple[ScopeKind, ...] = ("key", "user", "tenant", "feature")

Meter = Literal["requests", "tokens", "concurrency"]
"""What is counted: ``requests`` and ``tokens`` per minute, ``concurrency`` at once."""

METERS: tuple[Meter, ...] = ("requests", "tokens", "concurrency")


class LimitId(msgspec.Struct, frozen=True, kw_only=True):
    """One meter of one scope of one tenant."""

    tenant_id: str
    kind: ScopeKind
    name: str
    """The key's id, the user, the tenant's id or the feature."""
    meter: Meter

    @property
    def scope(self) -> str:
        """The scope as the book names it."""
        return f"{self.kind}:{self.name}"


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What a call needs of one limit."""

    id: LimitId
    limit: int
    amount: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How long things last, in microseconds. Tests shorten them, all by the same factor."""

    window_us: int = 60_000_000
    """Never more than the limit is admitted in any span of this length."""
    lease_us: int = 500_000
    """How long a permit may be used after it was asked for."""
    report_us: int = 125_000
    """How soon the book is told of what was used."""
    linger_us: int = 25_000
    """How long the permit of a call that ended is kept for the next one."""
    patience_us: int = 100_000
    """How long a call waits for one of those that run to end."""
    heartbeat_us: int = 1_000_000
    gap_us: int = 2_500_000
    """A worker not heard of for so long was away."""
    dead_us: int = 5_000_000
    """A worker not heard of for so long is dead: the calls that it had open count no longer."""

    @property
    def span_us(self) -> int:
        """How long a use counts: clocks that run 0.1 % apart (NTP allows half of it) must not shorten the window."""
        return self.window_us + self.window_us // 1000

    @property
    def bucket_us(self) -> int:
        """Uses whose times differ by less count as one, until the later time."""
        return max(1, self.window_us // 512)


class Use(msgspec.Struct, frozen=True, array_like=True):
    """What was used up to a sync, or a correction of it, by the moment of the book's clock at which it frees."""

    seq: int
    """The first sync that told of it: the book takes it once, however often it is sent."""
    frees_us: int
    amount: int


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What a worker wrote down of one use before it took effect: what the book is to be told if the worker dies."""

    tenant_id: str
    scope: str
    meter: Meter
    seq: int
    """No later sync told of this limit before it: it is known to the book once that has taken this one or a later."""
    frees_us: int
    amount: int


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's part of one limit in a sync."""

    tenant_id: str
    scope: str
    meter: Meter
    limit: int
    held: int
    """Permits that it still may use, or calls that run: replaces what the book had of it."""
    uses: tuple[Use, ...] = ()
    need: int = 0
    """What calls are waiting for."""
    unit: int = 0
    """The least that is of use to any of them."""
    wish: int = 0
    """What calls are expected to need soon: granted in part, where there is plenty."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The book's answer to one ask."""

    place: int
    """Of the ask in its sync."""
    granted: int
    free: int
    """What is left for anybody after this; below 0 when more was used than the limit allows now."""
    next_us: int | None = None
    """In how long the next use frees; ``None``: nothing is used."""
    fits_us: int | None = None
    """In how long ``unit`` may fit, where it does not now; ``None``: not known."""


class Sync(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange of a worker with the book."""

    seq: int
    sent_us: int
    """By the worker's own clock."""
    ids: tuple[LimitId, ...]
    asks: tuple[Ask, ...]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What the book says to a sync."""

    at_us: int
    """The book's clock."""
    settled: bool
    """Whether permits are given: not yet, just after all workers have been away."""
    workers: int
    answers: tuple[Answer, ...] = ()


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a caller stands with one limit, for headers."""

    id: LimitId
    limit: int
    remaining: int
    next_us: int
    """In how long more becomes available."""
    reset_us: int
    """In how long all of it is available, if nothing more is used."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call is not admitted."""

    want: Want
    retry_us: int | None
    """In how long it may be; ``None``: never."""
