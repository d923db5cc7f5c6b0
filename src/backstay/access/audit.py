"""Owns the reading of the audit log. It is written by each act, in the act's own transaction; nothing changes it."""

from typing import Any

import msgspec

from backstay.access.store import AccessStore, audit_of
from backstay.access.types import AuditRecord
from backstay.core.caller import DEFAULT_TENANT, Caller
from backstay.store import Connection, Database


class AuditLog:
    """What people, admin keys and the operator did in a tenant."""

    def __init__(self, database: Database):
        self._store = AccessStore(database)

    async def note(self, connection: Connection, by: Caller, action: str, subject: str, /, **detail: Any) -> None:
        """Write down an act on what belongs to the installation, in the transaction over all tenants that performs it.

        It stands in the log of the installation's own tenant, whomever the operator acts for.
        """
        home = msgspec.structs.replace(by, tenant_id=DEFAULT_TENANT)
        await self._store.note(connection, home, action, subject, **detail)

    async def note_own(self, connection: Connection, by: Caller, action: str, subject: str, /, **detail: Any) -> None:
        """Write down an act on what belongs to the caller's tenant, in the transaction over all tenants."""
        await self._store.note(connection, by, action, subject, **detail)

    async def list(
        self,
        by: Caller,
        *,
        limit: int = 100,
        before: int | None = None,
        action: str | None = None,
        subject: str | None = None,
    ) -> list[AuditRecord]:
        """List acts, the newest first; ``before`` is the id of the last one seen."""
        async with self._store.tenant(by.tenant_id) as sql:
            rows = await sql.all("list_audit", limit=limit, before=before, action=action, subject=subject)
        return [audit_of(row) for row in rows]
