"""Owns the raising and resolving of alerts: each once, whoever finds it and however often."""

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from backstay.alerts.rules import AlertRules
from backstay.alerts.types import Event, Finding, Key, Kind
from backstay.core.ids import new_id
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.alerts")


class Alerts:
    """Where detectors say what they found. Verbs raise ``StoreUnavailable`` without Postgres, and change nothing."""

    def __init__(self, database: Database, rules: Callable[[], AlertRules]):
        """``rules`` gives those that are in force."""
        self._database = database
        self._rules = rules

    async def raise_alert(self, tenant_id: str, finding: Finding) -> str | None:
        """Raise an alert, unless one of its key is open; return its id if it is new.

        The channels of the rules that name its kind are told in time; where no rule does, it is kept all the same.
        """
        async with self._database.system() as connection:
            return await self.raise_within(connection, tenant_id, finding)

    async def resolve(self, tenant_id: str, key: Key, reason: str) -> bool:
        """Resolve the open alert of a key, with a sentence that says why; false if there is none."""
        async with self._database.system() as connection:
            return await self.resolve_within(connection, tenant_id, key, reason)

    async def settle(self, tenant_id: str, kind: Kind, findings: Sequence[Finding], reason: str) -> list[str]:
        """Raise what was found of a kind and resolve what is open of it but was not found, at once.

        A detector that looks at everything each time needs no other verb. One with a lower bound for the end than for
        the beginning hands in what is above the lower one and open (``open_keys``) too.

        Args:
            reason: Why those are resolved that were not found.

        Returns:
            The ids of the alerts that are new.
        """
        found = {finding.key for finding in findings}
        async with self._database.system() as connection:
            for _, key in sorted(await self.open_within(connection, [kind], tenant_id)):
                if key not in found:
                    await self.resolve_within(connection, tenant_id, key, reason)
            # Two that settle the same take the rows in the same order, so that neither waits for the other in a circle.
            ordered = sorted(findings, key=lambda finding: finding.key)
            raised = [await self.raise_within(connection, tenant_id, finding) for finding in ordered]
        return [alert_id for alert_id in raised if alert_id is not None]

    async def open_keys(self, tenant_id: str, kind: Kind) -> set[Key]:
        """List what is open of a kind."""
        async with self._database.system() as connection:
            return {key for _, key in await self.open_within(connection, [kind], tenant_id)}

    async def raise_within(
        self, connection: Connection, tenant_id: str, finding: Finding, channels: Iterable[str] | None = None
    ) -> str | None:
        """Do as ``raise_alert`` within the system's transaction. ``channels`` are told instead of those of its kind."""
        key = finding.key
        values = {
            **_key_values(tenant_id, key),
            "alert_id": new_id("alert"),
            "severity": finding.severity,
            "title": finding.title,
            "details": list(finding.details),
            "numbers": msgspec.json.encode(finding.numbers).decode(),
            "link": finding.link,
        }
        row = await (await connection.execute(_QUERIES["raise"], values)).fetchone()
        if row is None or not row["is_new"]:
            return None
        if channels is None:
            channels = self._rules().channels_of(tenant_id, key.kind)
        await self._tell(connection, tenant_id, row["alert_id"], "raised", list(channels))
        return row["alert_id"]

    async def resolve_within(self, connection: Connection, tenant_id: str, key: Key, reason: str) -> bool:
        """Do as ``resolve`` in a transaction of the system's."""
        values = {**_key_values(tenant_id, key), "resolution": reason}
        row = await (await connection.execute(_QUERIES["resolve"], values)).fetchone()
        if row is None:
            return False
        alert = {"tenant_id": tenant_id, "alert_id": row["alert_id"]}
        told = await (await connection.execute(_QUERIES["told"], alert)).fetchall()
        wanted = self._rules().told_of_ends
        channels = [each["channel"] for each in told if each["channel"] in wanted]
        await self._tell(connection, tenant_id, row["alert_id"], "resolved", channels)
        return True

    async def open_within(
        self, connection: Connection, kinds: Collection[Kind], tenant_id: str | None = None
    ) -> list[tuple[str, Key]]:
        """List what is open of some kinds, each with its tenant; ``None``: in all tenants."""
        values = {"kinds": list(kinds), "tenant_id": tenant_id}
        rows = await (await connection.execute(_QUERIES["open_of"], values)).fetchall()
        return [(row["tenant_id"], msgspec.convert(row, Key)) for row in rows]

    async def _tell(
        self, connection: Connection, tenant_id: str, alert_id: str, event: Event, channels: Sequence[str]
    ) -> None:
        values = {
            "tenant_id": tenant_id,
            "alert_id": alert_id,
            "event": event,
            "delivery_ids": [new_id("msg") for _ in channels],
            "channels": list(channels),
        }
        if channels:
            await connection.execute(_QUERIES["tell"], values)


def _key_values(tenant_id: str, key: Key) -> dict[str, str]:
    return {"tenant_id": tenant_id, **msgspec.structs.asdict(key)}
