"""Owns the keys that a worker knows: in memory, so that no call waits for Postgres."""

import asyncio
import datetime as dt
import hmac
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from backstay.access.store import AccessStore, Row
from backstay.access.tokens import KeyHasher, is_key_shaped, key_prefix
from backstay.core.caller import Caller, CallLimits
from backstay.core.clock import Clock
from backstay.core.errors import Overloaded, Unauthenticated
from backstay.store import Database

T = TypeVar("T")

log = logging.getLogger(__name__)

_CHANNEL = "backstay_keys"
_MOST_PRELOADED = 200_000
_PIECE = 250
"""Keys read at a time when all are read: a few milliseconds' work, between which calls go on."""
_READ_ALL_S = 60.0
_MOST_ABSENT = 10_000
"""Prefixes remembered as unknown."""
_ABSENT_S = 30.0
_LOOKUPS_PER_S = 50.0
_LOOKUP_BURST = 100.0
_RETRY_S = 1.0
_START_S = 10.0


class _Known(NamedTuple):
    secret_hash: bytes
    caller: Caller
    ends_ns: int | None
    """When it stops working: 0 for a revoked key, ``None`` for never."""
    revoked_at: dt.datetime | None
    replaced_by: str | None

    def has_ended(self, now_ns: int) -> bool:
        return self.ends_ns is not None and now_ns >= self.ends_ns

    def why_ended(self) -> str:
        """Say what became of a key that works no more, and what to do."""
        if self.revoked_at is not None:
            return f"This key was revoked on {self.revoked_at:%Y-%m-%d}. Ask an admin of the tenant for a new one."
        day = dt.datetime.fromtimestamp((self.ends_ns or 0) / 1e9, dt.UTC)
        if self.replaced_by is not None:
            return f"This key was replaced by {self.replaced_by} and stopped working on {day:%Y-%m-%d}. Use that one."
        return f"This key expired on {day:%Y-%m-%d}. Ask an admin of the tenant for a new one."


class KeyRing:
    """Finds the caller of a key. Follows changes through notifications, and goes on while Postgres is away."""

    def __init__(self, database: Database, secret: bytes, clock: Clock, *, knows_all: bool = True):
        """Know no key yet.

        Args:
            knows_all: Whether ``start`` reads all keys, or each is read when it is first used.
        """
        self._database = database
        self._knows_all = knows_all
        self._store = AccessStore(database)
        self._hasher = KeyHasher(secret)
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._absent: dict[str, int] = {}
        self._lookups = _Allowance(_LOOKUPS_PER_S, _LOOKUP_BURST, clock)
        self._changed: set[str] = set()
        self._stale = True
        self._whole = False
        self._loaded = asyncio.Event()
        self._wake = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the keys have been read since the start."""
        return self._loaded.is_set()

    def find(self, key: str) -> Caller | None:
        """Find the caller of a key in memory; ``None`` when it is not known here, or does not work (any more)."""
        known = self._known.get(key_prefix(key))
        if known is None or not hmac.compare_digest(known.secret_hash, self._hasher.key(key)):
            return None
        if known.ends_ns is not None and self._clock.now_ns() >= known.ends_ns:
            return None
        return known.caller

    async def authenticate(self, key: str) -> Caller:
        """Find the caller of a key, asking Postgres once where memory does not know it.

        Raises:
            Unauthenticated: It is not a key, unknown, expired or revoked. Which of the latter two is told only to who
                has the whole key.
            StoreUnavailable: It is not known here and Postgres does not answer.
            Overloaded: Too many unknown keys were sent lately, and the ring is not whole.
        """
        caller = self.find(key)
        if caller is not None:
            return caller
        if not is_key_shaped(key):
            raise Unauthenticated("This is not a Backstay key (`bs_…`). `backstay keys create` makes one.")
        known = self._known.get(key_prefix(key)) or await self._look_up(key_prefix(key))
        if known is None or not hmac.compare_digest(known.secret_hash, self._hasher.key(key)):
            raise Unauthenticated("This key is unknown here. `backstay keys create` makes one.")
        if known.has_ended(self._clock.now_ns()):
            raise Unauthenticated(known.why_ended())
        return known.caller

    async def caller_of(self, tenant_id: str, key_id: str) -> Caller:
        """Ask Postgres who a key makes its holder, now: for calls that are made later on its behalf.

        Raises:
            Unauthenticated: There is no such key, or it works no more.
            StoreUnavailable: Postgres does not answer.
        """
        rows = await self._read("key_by_id", tenant_id=tenant_id, key_id=key_id)
        if not rows:
            raise Unauthenticated("The key that asked for this call is not there any more.")
        known = _Reader().known(rows[0])
        if known.has_ended(self._clock.now_ns()):
            raise Unauthenticated(known.why_ended())
        return known.caller

    async def start(self) -> None:
        """Read the keys and follow their changes. Where Postgres is away now, that happens when it is back."""
        self._follower = asyncio.create_task(self._follow(), name="key ring")
        self._database.listen(_CHANNEL, self._on_change, on_gap=self._on_gap)
        if not self._knows_all:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._loaded.wait(), _START_S)

    async def stop(self) -> None:
        """Stop following. What is known stays known."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            self._follower = None

    def _on_change(self, prefix: str) -> None:
        self._changed.add(prefix)
        self._wake.set()

    def _on_gap(self) -> None:
        """Notifications may have been missed (or begin now): everything is read."""
        self._stale = True
        self._whole = False
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._catch_up():
                await asyncio.sleep(_RETRY_S)

    async def _catch_up(self) -> bool:
        """Read what changed, or everything; false when that failed."""
        try:
            if self._stale:
                self._stale = False
                await (self._read_all() if self._knows_all else self._read_used())
                self._loaded.set()
            changed, self._changed = self._changed, set()
            if changed:
                await self._refresh(sorted(changed))
        except Exception as error:  # noqa: BLE001 - a follower that died of anything would let revoked keys live on
            self._on_gap()
            log.warning("the keys in memory may be out of date, they are read again: %r", error)
            return False
        return True

    async def _read_all(self) -> None:
        known: dict[str, _Known] = {}
        reader = _Reader()
        async with self._store.system(timeout_s=_READ_ALL_S) as sql:
            async for row in sql.stream("live_keys", _PIECE, limit=_MOST_PRELOADED):
                known[row["prefix"]] = reader.known(row)
                if len(known) % _PIECE == 0:
                    await asyncio.sleep(0)
        self._whole = len(known) < _MOST_PRELOADED and not self._stale
        self._known = known
        self._absent.clear()

    async def _read_used(self) -> None:
        await self._refresh(sorted(self._known))
        self._absent.clear()

    async def _refresh(self, prefixes: Sequence[str]) -> None:
        reader = _Reader()
        for row in await self._read("keys_by_prefix", prefixes=prefixes):
            self._known[row["prefix"]] = reader.known(row)
            self._absent.pop(row["prefix"], None)

    async def _look_up(self, prefix: str) -> _Known | None:
        """Read one key that memory does not know, unless it was found absent just now or too many were asked for."""
        if self._absent.get(prefix, 0) > self._clock.monotonic_ns():
            return None
        if not self._lookups.take():
            if self._whole:
                return None
            raise Overloaded("Too many unknown keys were sent lately. Try again shortly.", retry_after_s=_RETRY_S)
        ring = self._known
        rows = await self._read("keys_by_prefix", prefixes=[prefix])
        if not rows:
            self._remember_absent(prefix)
            return None
        found = _Reader().known(rows[0])
        # What was read meanwhile is newer than this answer: a revocation must not be overwritten by it.
        return ring.setdefault(prefix, found) if ring is self._known else found

    def _remember_absent(self, prefix: str) -> None:
        if len(self._absent) >= _MOST_ABSENT:
            self._absent.pop(next(iter(self._absent)))
        self._absent[prefix] = self._clock.monotonic_ns() + int(_ABSENT_S * 1e9)

    async def _read(self, query: str, **values: Any) -> list[Row]:
        async with self._store.system() as sql:
            return await sql.all(query, **values)


class _Reader:
    """Reads rows so that equal parts of many keys are one object in memory."""

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}

    def known(self, row: Row) -> _Known:
        revoked_at, expires_at = row["revoked_at"], row["expires_at"]
        ends_ns = None if expires_at is None else int(expires_at.timestamp() * 1e9)
        return _Known(
            secret_hash=row["secret_hash"],
            caller=self._caller(row),
            ends_ns=0 if revoked_at else ends_ns,
            revoked_at=revoked_at,
            replaced_by=row["replaced_by"],
        )

    def _caller(self, row: Row) -> Caller:
        return Caller(
            tenant_id=self._one(row["tenant_id"]),
            kind="key",
            id=row["key_id"],
            name=row["name"],
            rights=self._one(frozenset(row["rights"])),
            models=None if row["models"] is None else self._one(frozenset(row["models"])),
            routes=None if row["routes"] is None else self._one(frozenset(row["routes"])),
            feature=row["feature"],
            tags=self._one(tuple(row["tags"])),
            priority=row["priority"],
            principals=None if row["principals"] is None else self._one(frozenset(row["principals"])),
            limits=self._limits(row),
        )

    def _limits(self, row: Row) -> CallLimits | None:
        limits = CallLimits(
            requests_per_min=row["requests_per_min"],
            tokens_per_min=row["tokens_per_min"],
            concurrency=row["concurrency"],
        )
        return None if limits == CallLimits() else self._one(limits)

    def _one(self, value: T) -> T:
        return self._seen.setdefault(value, value)


class _Allowance:
    """So many acts a second, with a reserve for bursts."""

    def __init__(self, per_s: float, burst: float, clock: Clock):
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at_ns = clock.monotonic_ns()

    def take(self) -> bool:
        now = self._clock.monotonic_ns()
        self._left = min(self._burst, self._left + (now - self._at_ns) / 1e9 * self._per_s)
        self._at_ns = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
