"""Owns the SQL of conversations: turns in, conversations out, old ones away."""

from collections.abc import Collection
from typing import Any

import msgspec

from backstay.conversations.types import DAYS, MAX_BYTES, MAX_TURNS, Turn
from backstay.core.caller import Caller
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.conversations")

MERGE_RESPONSES = _QUERIES["merge_responses"]
"""What the shipper runs on a batch to write turns that came by the journal. Run again, it changes nothing."""

_EXPIRED_AT_ONCE = 500


class ConversationStore:
    """Turns of all tenants. Every method raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def keep(self, tenant_id: str, turn: Turn, *, timeout_s: float) -> None:
        """Write a turn; one that is there already stays as it is."""
        async with self._database.tenant(tenant_id, timeout_s=timeout_s) as connection:
            await connection.execute(
                _QUERIES["keep"], {"tenant_id": tenant_id, "days": DAYS, **msgspec.structs.asdict(turn)}
            )

    async def find(self, caller: Caller, response_id: str) -> Turn | None:
        """Find one turn that a caller may see."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = await _values(connection, caller, response_id)
            cursor = await connection.execute(_QUERIES["find"], values)
            row = await cursor.fetchone()
        return None if row is None else msgspec.convert(row, Turn)

    async def follow(self, caller: Caller, response_id: str, *, is_newest: bool) -> list[Turn]:
        """Return a turn and those before it, the newest first, as far as a caller may see them, and up to a bound.

        Args:
            is_newest: Whether the conversation begins here, seen from its end: then it must not have expired.
        """
        async with self._database.tenant(caller.tenant_id) as connection:
            bounds = {"is_newest": is_newest, "max_turns": MAX_TURNS + 1, "max_size": MAX_BYTES}
            values = await _values(connection, caller, response_id)
            cursor = await connection.execute(_QUERIES["follow"], values | bounds)
            rows = await cursor.fetchall()
        return msgspec.convert(rows, list[Turn])

    async def delete(self, caller: Caller, response_id: str) -> bool:
        """Delete a turn that a caller may see; ``False`` if there is none."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = await _values(connection, caller, response_id)
            cursor = await connection.execute(_QUERIES["delete"], values)
            return cursor.rowcount > 0

    async def which_are_there(self, response_ids: Collection[str]) -> set[tuple[str, str]]:
        """Return those of some responses that are written, each as its tenant and id."""
        async with self._database.system() as connection:
            cursor = await connection.execute(_QUERIES["which_are_there"], {"response_ids": list(response_ids)})
            return {(row["tenant_id"], row["response_id"]) for row in await cursor.fetchall()}

    async def expire(self) -> int:
        """Delete some of what has expired and return how much that was; 0: nothing is left."""
        async with self._database.system() as connection:
            cursor = await connection.execute(_QUERIES["expire"], {"batch": _EXPIRED_AT_ONCE})
            return cursor.rowcount


async def _values(connection: Connection, caller: Caller, response_id: str) -> dict[str, Any]:
    """Return what a query about one response needs, with the keys whose conversations the caller may see.

    ``None`` in place of the keys: those of the whole tenant.
    """
    values: dict[str, Any] = {"tenant_id": caller.tenant_id, "response_id": response_id, "key_ids": None}
    if not caller.may("admin"):
        cursor = await connection.execute(_QUERIES["keys_of"], {"tenant_id": caller.tenant_id, "key_id": caller.id})
        values["key_ids"] = [row["key_id"] for row in await cursor.fetchall()]
    return values
