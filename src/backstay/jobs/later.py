"""Owns single calls that are made later: taken in, and shown with their answer."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import NotFound, RateLimited
from backstay.core.ids import new_id
from backstay.core.money import NanoUSD
from backstay.jobs.files import visible
from backstay.jobs.types import Failure, JobState, Terms
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.jobs")
_RETRY_S = 5.0
"""When to try again where too many are unfinished: the next end is not known."""


class NewCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is to be made later."""

    path: str
    body: bytes
    terms: Terms
    trace_id: str
    within_s: float
    """For how long its answer is of use."""
    webhook_url: str | None = None
    repeat_key: str | None = None
    """What repeats of this request have in common; ``None``: each is a call of its own."""


class LaterCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was, or will be, made later."""

    job_id: str
    path: str
    state: JobState
    trace_id: str
    http_status: int | None
    answer: bytes | None
    error: dict[str, Any] | None
    webhook_url: str | None
    webhook_state: str | None
    webhook_tries: int
    webhook_error: str | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


class LaterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call as a list shows it, without its answer."""

    job_id: str
    path: str
    state: JobState
    trace_id: str
    key_id: str
    http_status: int | None
    error: Failure | None
    answer: bytes | None
    """Of a failure, where it is short."""
    webhook_url: str | None
    webhook_state: Literal["waiting", "delivered", "failed"] | None
    """``None`` until the call has ended."""
    webhook_tries: int
    webhook_error: str | None
    webhook_due_at: dt.datetime | None
    tries: int
    cost_nanousd: NanoUSD | None
    created_at: dt.datetime
    finished_at: dt.datetime | None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A call that waits now, or did before."""

    job_id: str
    state: JobState
    is_same: bool
    """``False``: what was taken under this repeat key before is another request."""


class TooManyUnfinished(RateLimited):
    """Too many `x-backstay-async` calls are unfinished. Send more when some have ended, or make a batch."""

    code = "too_many_unfinished"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many later calls may be unfinished: waiting, or under way."""

    per_key: int
    per_tenant: int


class Later:
    """The later calls of all tenants. Every method raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def take(self, caller: Caller, new: NewCall, bounds: Bounds) -> Taken:
        """Take a call in, once for each repeat key; it is made soon, as the caller's key.

        Raises:
            TooManyUnfinished: The key or its tenant has as many as it may. Never of a repeat, which is there already.
        """
        job_id = new_id("async") if new.repeat_key is None else _repeatable_id(caller, new.repeat_key)
        values = {
            "tenant_id": caller.tenant_id,
            "job_id": job_id,
            "key_id": caller.id,
            "path": new.path,
            "body": new.body,
            "terms": msgspec.json.encode(new.terms).decode(),
            "trace_id": new.trace_id,
            "within_s": new.within_s,
            "webhook_url": new.webhook_url,
            "per_key": bounds.per_key,
            "per_tenant": bounds.per_tenant,
        }
        async with self._database.tenant(caller.tenant_id) as connection:
            await connection.execute(_QUERIES["lock_takes"], values)
            await connection.execute(_QUERIES["take_call"], values)
            await connection.execute(_QUERIES["notify"])
            row = await (await connection.execute(_QUERIES["look_at_call"], values)).fetchone()
            if row is None:
                counts = await (await connection.execute(_QUERIES["unfinished"], values)).fetchone()
                raise _too_many(msgspec.convert(counts, Bounds), bounds)
        return msgspec.convert(row, Taken)

    async def find(self, caller: Caller, job_id: str) -> LaterCall:
        """Find a call that the caller may see. Raises ``NotFound``."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**await visible(connection, caller), "job_id": job_id}
            row = await (await connection.execute(_QUERIES["find_call"], values)).fetchone()
        if row is None:
            raise NotFound(f"There is no call {job_id!r}. Answers are kept for 7 days.")
        return msgspec.convert(row, LaterCall)

    async def list(self, caller: Caller, *, after: str | None, limit: int) -> Sequence[LaterRow]:
        """List the calls that the caller may see, the newest first, from behind ``after`` on."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**await visible(connection, caller), "after": after, "limit": limit}
            rows = await (await connection.execute(_QUERIES["list_calls"], values)).fetchall()
        return msgspec.convert(rows, list[LaterRow])


def _too_many(unfinished: Bounds, bounds: Bounds) -> TooManyUnfinished:
    is_of_key = unfinished.per_key >= bounds.per_key
    who, most = ("key", bounds.per_key) if is_of_key else ("tenant", bounds.per_tenant)
    return TooManyUnfinished(
        f"This {who} has {most:,} unfinished x-backstay-async calls, as many as it may. "
        "Send more when some have ended, or make a batch.",
        retry_after_s=_RETRY_S,
    )


def _repeatable_id(caller: Caller, repeat_key: str) -> str:
    digest = hashlib.sha256(f"{caller.tenant_id}\n{caller.id}\n{repeat_key}".encode()).hexdigest()
    return f"async_{digest[:26]}"
