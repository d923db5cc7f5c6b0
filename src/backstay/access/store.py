"""Owns the SQL of access: runs its named queries in one transaction, and turns rows into nouns."""

import datetime as dt
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import msgspec

from backstay.access.types import AuditRecord, Key, Person, Session
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.store import Connection, Database, load_queries

Row = dict[str, Any]

TIMEOUT_S = 5.0
"""Time limit of a transaction."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Transaction:
    """Runs the room's named queries on one connection, in the transaction that the connection is in."""

    def __init__(self, connection: Connection, queries: Mapping[str, LiteralString]):
        self._connection = connection
        self._queries = queries

    async def all(self, query: str, /, **values: Any) -> list[Row]:
        """Run a query and return all of its rows."""
        cursor = await self._connection.execute(self._queries[query], _checked(values))
        return await cursor.fetchall()

    async def one(self, query: str, /, **values: Any) -> Row | None:
        """Run a query and return its first row, or ``None``."""
        cursor = await self._connection.execute(self._queries[query], _checked(values))
        return await cursor.fetchone()

    async def run(self, query: str, /, **values: Any) -> int:
        """Run a statement and return how many rows it touched."""
        cursor = await self._connection.execute(self._queries[query], _checked(values))
        return cursor.rowcount

    async def stream(self, query: str, size: int, /, **values: Any) -> AsyncIterator[Row]:
        """Run a query and yield its rows as they come, fetched ``size`` at a time."""
        async with self._connection.cursor() as cursor:
            async for row in cursor.stream(self._queries[query], values, size=size):
                yield row

    async def record(self, by: Caller, action: str, subject: str, /, **detail: Any) -> None:
        """Write an act down in the audit log, in the transaction that performs it."""
        text = msgspec.json.encode({"by": by.name, **detail}).decode()
        await self.run("record", tenant_id=by.tenant_id, actor=actor(by), action=action, subject=subject, detail=text)


class AccessStore:
    """Opens transactions for the room's verbs."""

    def __init__(self, database: Database):
        self._database = database
        self._queries = load_queries("backstay.access")

    @asynccontextmanager
    async def tenant(self, tenant_id: str) -> AsyncGenerator[Transaction]:
        """Open a transaction that sees one tenant. Raises ``StoreUnavailable``."""
        async with self._database.tenant(tenant_id) as connection:
            yield Transaction(connection, self._queries)

    @asynccontextmanager
    async def system(self, *, timeout_s: float = TIMEOUT_S) -> AsyncGenerator[Transaction]:
        """Open a transaction for what happens before the tenant is known. Raises ``StoreUnavailable``."""
        async with self._database.system(timeout_s=timeout_s) as connection:
            yield Transaction(connection, self._queries)

    async def note(self, connection: Connection, by: Caller, action: str, subject: str, /, **detail: Any) -> None:
        """Write an act down in another room's transaction over all tenants; its tenant is made where it is missing."""
        sql = Transaction(connection, self._queries)
        await sql.run("add_tenant", tenant_id=by.tenant_id)
        await sql.record(by, action, subject, **detail)

    async def ensure_tenant(self, by: Caller) -> None:
        """Make the tenant that an operator works on, where it is missing: for everyone else it exists.

        Raises:
            InvalidRequest: That cannot be the name of a tenant.
        """
        if by.kind != "operator":
            return
        if _TENANT.fullmatch(by.tenant_id) is None:
            raise InvalidRequest(
                "A tenant's name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter or digit.",
                param="x-backstay-tenant",
            )
        async with self.system() as sql:
            if await sql.one("add_tenant", tenant_id=by.tenant_id):
                await sql.record(by, "tenant.create", by.tenant_id)


def actor(by: Caller) -> str:
    """Name who acts, as the audit log and ``created_by`` have it."""
    return "operator" if by.kind == "operator" else f"{by.kind}:{by.id}"


def key_of(row: Row, now: dt.datetime) -> Key:
    """Read a row of ``keys``."""
    ended = row["expires_at"] is not None and row["expires_at"] <= now
    return Key(
        id=row["key_id"],
        tenant=row["tenant_id"],
        prefix=row["prefix"],
        name=row["name"],
        status="revoked" if row["revoked_at"] else "expired" if ended else "live",
        rights=tuple(row["rights"]),
        models=_tuple(row["models"]),
        routes=_tuple(row["routes"]),
        feature=row["feature"],
        tags=tuple(row["tags"]),
        priority=row["priority"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        replaced_by=row["replaced_by"],
        requests_per_min=row["requests_per_min"],
        tokens_per_min=row["tokens_per_min"],
        concurrency=row["concurrency"],
        principals=_tuple(row["principals"]),
    )


def person_of(row: Row) -> Person:
    """Read a row of ``people``."""
    return Person(
        id=row["person_id"],
        tenant=row["tenant_id"],
        email=row["email"],
        role=row["role"],
        has_password=row["password_hash"] is not None,
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        last_signed_in_at=row["last_signed_in_at"],
    )


def session_of(row: Row) -> Session:
    """Read a row of ``sessions`` joined with its person."""
    return Session(
        id=row["token_hash"].hex(),
        person=person_of(row),
        csrf_token=row["csrf_token"],
        created_at=row["session_created_at"],
        expires_at=row["session_expires_at"],
        user_agent=row["user_agent"],
    )


def audit_of(row: Row) -> AuditRecord:
    """Read a row of ``audit_log``."""
    return AuditRecord(
        id=row["audit_id"],
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        subject=row["subject"],
        detail=row["detail"],
    )


def _checked(values: Row) -> Row:
    """Refuse what Postgres cannot hold, so that it is the sender's error and not ours."""
    if any(isinstance(value, str) and "\0" in value for value in values.values()):
        raise InvalidRequest("A text holds a NUL character, which no name or id has.")
    return values


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
