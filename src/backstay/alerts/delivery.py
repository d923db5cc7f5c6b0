"""Owns the delivery of alerts: each message goes out until its receiver has it, at least once."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec

from backstay.alerts.messages import Message
from backstay.alerts.rules import AlertRules
from backstay.alerts.sending import Sender
from backstay.alerts.types import Alert
from backstay.core.ports import AddFamily
from backstay.jobs.posting import Posted
from backstay.jobs.rounds import again_and_again, wait_for
from backstay.jobs.webhooks import pause_after
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.alerts")

DeliveryEnd = Literal["delivered", "again", "failed"]
"""``again``: the receiver did not take it, and is told again. ``failed``: that was the last time."""

_AT_ONCE = 16
_LEASE_S = 60.0
"""After which a try that was begun is made again: its process died."""
_IDLE_S = 5.0
"""How often what another process raised is looked for."""


class AlertDeliverer:
    """Delivers the alerts of all tenants. Several may run: each message is leased by one of them."""

    def __init__(self, database: Database, rules: Callable[[], AlertRules], sender: Sender, base_url: str):
        """Take the parts. ``base_url`` leads to the console; empty: nobody knows."""
        self._database = database
        self._rules = rules
        self._sender = sender
        self._base_url = base_url.rstrip("/")
        self._woken = asyncio.Event()
        self.tries: dict[DeliveryEnd, int] = dict.fromkeys(get_args(DeliveryEnd), 0)
        """Tries that have ended here, by what came of them."""

    def watch(self, add_family: AddFamily) -> None:
        """Show what came of tries."""
        add_family(
            "backstay_alert_tries_total", "Tries to tell of alerts, by what came of them.", "counter",
            lambda: [({"outcome": outcome}, count) for outcome, count in self.tries.items()],
        )  # fmt: skip

    def wake(self) -> None:
        """Look for something to deliver: there is news."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled."""
        await again_and_again(self._round)

    async def deliver_some(self) -> int:
        """Try what is due, some of it; return how much that was."""
        async with self._database.system() as connection:
            values = {"most": _AT_ONCE, "lease_s": _LEASE_S}
            rows = await (await connection.execute(_QUERIES["claim"], values)).fetchall()
        await asyncio.gather(*(self._deliver(row) for row in rows))
        return len(rows)

    async def _round(self) -> None:
        self._woken.clear()
        if not await self.deliver_some():
            await wait_for(self._woken, await self._idle_s())

    async def _idle_s(self) -> float:
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["next_delivery"])).fetchone()
        assert row is not None
        return _IDLE_S if row["in_s"] is None else min(max(row["in_s"], 0.05), _IDLE_S)

    async def _deliver(self, row: Mapping[str, Any]) -> None:
        posted = await self._send(row)
        pause_s = None if posted.problem is None else pause_after(posted.status, row["tries"])
        state = "delivered" if posted.problem is None else "failed" if pause_s is None else "waiting"
        values = {
            "tenant_id": row["tenant_id"],
            "delivery_id": row["delivery_id"],
            "state": state,
            "problem": posted.problem,
            "pause_s": pause_s or 0.0,
        }
        async with self._database.system() as connection:
            await connection.execute(_QUERIES["end_delivery"], values)
        self.tries["again" if state == "waiting" else state] += 1

    async def _send(self, row: Mapping[str, Any]) -> Posted:
        channel = self._rules().channels.get(row["channel"])
        if channel is None:
            # 410 is what a receiver says that is gone for good: it is not tried again.
            return Posted(status=410, problem=f"The policy has no [alert_channels.{row['channel']}] any more.")
        message = Message(
            id=row["delivery_id"],
            event=row["event"],
            tenant_id=row["tenant_id"],
            alert=msgspec.convert(row, Alert),
            base_url=self._base_url,
        )
        return await self._sender.send(channel, message)
