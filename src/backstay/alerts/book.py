"""Owns what people see of their tenant's alerts, and that they have seen it; and the trying of a channel."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from backstay.alerts.messages import Message
from backstay.alerts.rules import AlertRules
from backstay.alerts.sending import Sender
from backstay.alerts.types import Alert, AlertState, Delivery
from backstay.core.caller import DEFAULT_TENANT, Caller
from backstay.core.errors import Forbidden, NotFound
from backstay.core.ids import new_id
from backstay.jobs.posting import Posted
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.alerts")


class AlertBook:
    """The alerts of a tenant, for who may read it. Verbs raise ``StoreUnavailable`` without Postgres."""

    def __init__(self, database: Database):
        self._database = database

    async def list(
        self, by: Caller, *, state: AlertState | None = None, before: str | None = None, limit: int = 100
    ) -> list[Alert]:
        """List alerts, the newest first; ``before`` is the id of the last one seen, ``None`` of state means all."""
        values = {"tenant_id": by.tenant_id, "state": state, "before": before, "limit": limit}
        async with self._database.tenant(by.tenant_id) as connection:
            rows = await (await connection.execute(_QUERIES["list"], values)).fetchall()
        return [msgspec.convert(row, Alert) for row in rows]

    async def find(self, by: Caller, alert_id: str) -> tuple[Alert, Sequence[Delivery]]:
        """Show an alert, and who was told of it. Raises ``NotFound``."""
        values = {"tenant_id": by.tenant_id, "alert_id": alert_id}
        async with self._database.tenant(by.tenant_id) as connection:
            row = await (await connection.execute(_QUERIES["find"], values)).fetchone()
            told = await (await connection.execute(_QUERIES["deliveries"], values)).fetchall()
        if row is None:
            raise NotFound(f"There is no alert {alert_id}. `backstay alerts list --state all` shows which there are.")
        return msgspec.convert(row, Alert), [msgspec.convert(each, Delivery) for each in told]

    async def acknowledge(
        self, by: Caller, alert_id: str, record: Callable[[Connection], Awaitable[None]]
    ) -> tuple[Alert, Sequence[Delivery]]:
        """Say that somebody looks after an alert; the first who says so stands there.

        Args:
            record: Writes the act down, in the transaction that performs it; not called where nothing changes.

        Raises:
            NotFound: There is no such alert.
        """
        values = {"tenant_id": by.tenant_id, "alert_id": alert_id, "by": by.name}
        async with self._database.system() as connection:
            cursor = await connection.execute(_QUERIES["acknowledge"], values)
            if cursor.rowcount:
                await record(connection)
        return await self.find(by, alert_id)

    async def count_open(self, by: Caller) -> int:
        """Count what is open."""
        async with self._database.tenant(by.tenant_id) as connection:
            row = await (await connection.execute(_QUERIES["open_count"], {"tenant_id": by.tenant_id})).fetchone()
        assert row is not None
        return row["count"]


class Channels:
    """The policy's channels, which belong to the installation."""

    def __init__(self, rules: Callable[[], AlertRules], sender: Sender, base_url: str):
        self._rules = rules
        self._sender = sender
        self._base_url = base_url.rstrip("/")

    def list(self, by: Caller) -> list[tuple[str, str]]:
        """List names and kinds. Raises ``Forbidden``."""
        _require_operator(by)
        return [(name, channel.kind) for name, channel in self._rules().channels.items()]

    async def test(self, by: Caller, name: str) -> Posted:
        """Send a message to a channel now, and say what came of it.

        Raises:
            Forbidden: The caller does not run the installation.
            NotFound: The policy has no such channel.
        """
        _require_operator(by)
        channel = self._rules().channels.get(name)
        if channel is None:
            known = ", ".join(sorted(self._rules().channels)) or "none"
            raise NotFound(f"The policy has no [alert_channels.{name}]. There are: {known}.")
        message = Message(
            id=new_id("msg"), event="test", tenant_id=by.tenant_id, alert=_trial(by, name), base_url=self._base_url
        )
        return await self._sender.send(channel, message)


def _trial(by: Caller, channel: str) -> Alert:
    now = dt.datetime.now(dt.UTC)
    return Alert(
        id=new_id("alert"),
        kind="test",
        subject=f"tenant:{by.tenant_id}",
        threshold="",
        window="",
        severity="info",
        title=f"the channel {channel} works",
        details=[f"{by.name} asked for this message. Nothing is wrong."],
        numbers={},
        link="",
        state="open",
        raised_at=now,
        seen_at=now,
        resolved_at=None,
        resolution=None,
        acknowledged_at=None,
        acknowledged_by=None,
    )


def _require_operator(caller: Caller) -> None:
    if caller.kind != "operator" and not (caller.tenant_id == DEFAULT_TENANT and caller.may("admin")):
        raise Forbidden("Channels belong to the installation: only its operator, or an admin of its own tenant, may.")
