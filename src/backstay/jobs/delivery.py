"""Owns the delivery of webhooks: each goes out when its call has ended, until its receiver says that it has it."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from backstay.core.errors import StoreUnavailable
from backstay.jobs.later import LaterCall
from backstay.jobs.posting import Posted, Poster
from backstay.jobs.rounds import again_and_again, wait_for
from backstay.jobs.views import view_call
from backstay.jobs.webhooks import pause_after, secret_of, sign, write_secret
from backstay.store import Connection, Database, load_queries

_log = logging.getLogger(__name__)

_QUERIES = load_queries("backstay.jobs")
WebhookEnd = Literal["delivered", "again", "failed"]
"""``again``: the receiver did not take it, and is told again. ``failed``: that was the last time."""

_AT_ONCE = 16
_OF_ONE_TENANT = 12
_LEASE_S = 60.0
"""After which a try that was begun is made again: its process died."""
_IDLE_S = 30.0
_EARLIER_S = 24 * 3600.0
"""For how long a tenant's earlier secret signs beside the new one."""


class WebhookSecrets:
    """The tenants' secrets, of which Postgres has only the salt."""

    def __init__(self, database: Database, installation_secret: bytes):
        self._database = database
        self._secret = installation_secret

    async def renew(self, tenant_id: str, record: Callable[[Connection], Awaitable[None]]) -> str:
        """Make a tenant's secret, which is not told again; the one before signs beside it for a day.

        Args:
            record: Writes the act down, in the transaction that performs it.
        """
        salt = os.urandom(32)
        values = {"tenant_id": tenant_id, "salt": salt, "earlier_s": _EARLIER_S}
        async with self._database.system() as connection:
            await connection.execute(_QUERIES["renew_secret"], values)
            await record(connection)
        return write_secret(secret_of(self._secret, salt))

    async def has(self, tenant_id: str) -> bool:
        """Tell whether a tenant has one. Raises ``StoreUnavailable``."""
        async with self._database.tenant(tenant_id) as connection:
            row = await (await connection.execute(_QUERIES["find_secret"], {"tenant_id": tenant_id})).fetchone()
        return row is not None


class Deliverer:
    """Delivers the webhooks of all tenants."""

    def __init__(
        self, database: Database, installation_secret: bytes, named_hosts: Collection[str], ca_file: Path | None = None
    ):
        """Take the parts. ``ca_file`` has authorities that are trusted beside the system's. Raises ``ConfigError``."""
        self._database = database
        self._secret = installation_secret
        self._poster = Poster(named_hosts, ca_file)
        self.tries: dict[WebhookEnd, int] = dict.fromkeys(get_args(WebhookEnd), 0)
        """Tries that have ended here, by what came of them."""
        self._woken = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], str] = {}
        """Tries, and whose they are."""

    def wake(self) -> None:
        """Look for something to deliver: there is news."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled. Tries that are under way then are made again later."""
        try:
            await again_and_again(self._deliver_more)
        finally:
            for task in self._under_way:
                task.cancel()

    async def _deliver_more(self) -> None:
        """Begin as many tries as there is room for, and wait for more room, or more to deliver."""
        self._woken.clear()
        room = _AT_ONCE - len(self._under_way)
        rows = await self._claim(room) if room else []
        for row in rows:
            task = asyncio.create_task(self._deliver(row), name=f"webhook {row['job_id']}")
            self._under_way[task] = row["tenant_id"]
            task.add_done_callback(self._on_end)
        if not rows:
            await wait_for(self._woken, await self._idle_s() if room else _IDLE_S)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._woken.set()

    async def _claim(self, most: int) -> list[dict[str, Any]]:
        async with self._database.system() as connection:
            values = {
                "most": most,
                "of_one_tenant": _OF_ONE_TENANT,
                "busy": list(self._under_way.values()),
                "lease_s": _LEASE_S,
            }
            return await (await connection.execute(_QUERIES["claim_webhooks"], values)).fetchall()

    async def _idle_s(self) -> float:
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["next_webhook"])).fetchone()
        assert row is not None
        least_s = 1.0 if self._under_way else 0.05  # what is due may be of a tenant that has its part under way
        return _IDLE_S if row["in_s"] is None else min(max(row["in_s"], least_s), _IDLE_S)

    async def _deliver(self, row: Mapping[str, Any]) -> None:
        posted = await self._send(row)
        problem = posted.problem
        pause_s = None if problem is None else pause_after(posted.status, row["webhook_tries"])
        state = "delivered" if problem is None else "failed" if pause_s is None else "waiting"
        self.tries["again" if state == "waiting" else state] += 1
        values = {"state": state, "pause_s": pause_s or 0.0, "problem": problem}
        try:
            async with self._database.system() as connection:
                await connection.execute(
                    _QUERIES["end_webhook"], {"tenant_id": row["tenant_id"], "job_id": row["job_id"], **values}
                )
        except StoreUnavailable as error:
            _log.warning("the end of a webhook's try is not written, and it is made again: %s", error.message)

    async def _send(self, row: Mapping[str, Any]) -> Posted:
        body, timestamp = _message(msgspec.convert(row, LaterCall)), int(time.time())
        secrets = [secret_of(self._secret, salt) for salt in row["salts"]]
        headers = {
            "webhook-id": row["job_id"],
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secrets, row["job_id"], timestamp, body),
        }
        return await self._poster.post(row["webhook_url"], body, headers)


def _message(call: LaterCall) -> bytes:
    kind = "call.completed" if call.state == "done" else "call.failed"
    return msgspec.json.encode({"type": kind, "timestamp": call.finished_at, "data": view_call(call)})
