"""Owns the SQL of health: what workers report, and which targets are taken out of use."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from backstay.health.target import TargetState
from backstay.store import Connection, Database, load_queries

CHANNEL = "backstay_targets"
_REPORT_AGE_S = 15.0
"""A report that is older is of a worker that is gone."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker says of one target."""

    worker: str
    age_s: float
    state: TargetState


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """A target that an operator took out of use."""

    target: str
    by: str
    at: dt.datetime


class HealthStore:
    """The tables ``target_states`` and ``target_drains``. Each verb raises ``StoreUnavailable`` without Postgres."""

    def __init__(self, database: Database):
        self._database = database
        self._queries = load_queries("backstay.health")

    async def report(self, worker: str, states: Sequence[TargetState]) -> None:
        """Replace what a worker has said of these targets."""
        rows = [{"target": state.target, "state": msgspec.to_builtins(state)} for state in states]
        values = {"worker": worker, "states": msgspec.json.encode(rows).decode()}
        async with self._database.system() as connection:
            await connection.execute(self._queries["report"], values)
            await connection.execute(self._queries["forget_old"])

    async def reports(self, *, timeout_s: float = 5.0) -> list[Report]:
        """List what the workers that live say, by target."""
        async with self._database.system(timeout_s=timeout_s) as connection:
            cursor = await connection.execute(self._queries["reports"], {"age_s": _REPORT_AGE_S})
            return [
                Report(
                    worker=row["worker"],
                    age_s=row["age_s"],
                    state=msgspec.json.decode(row["state"], type=TargetState),
                )
                for row in await cursor.fetchall()
            ]

    async def askers(self, worker: str) -> dict[str, int]:
        """Count the other workers that live and ask a target, by its name."""
        async with self._database.system() as connection:
            cursor = await connection.execute(self._queries["askers"], {"worker": worker, "age_s": _REPORT_AGE_S})
            return {row["target"]: row["askers"] for row in await cursor.fetchall()}

    async def tell(self, word: str) -> None:
        """Send a word to all workers."""
        async with self._database.system() as connection:
            await connection.execute(self._queries["tell"], {"word": word})

    async def drains(self) -> list[Drain]:
        """List the targets that are taken out of use."""
        async with self._database.system() as connection:
            cursor = await connection.execute(self._queries["drained"])
            return [Drain(target=row["target"], by=row["by_whom"], at=row["at"]) for row in await cursor.fetchall()]

    async def set_drained(
        self,
        target: str,
        drained: bool,
        *,
        by: str,
        record: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        """Take a target out of use, or put it back, and tell all workers.

        Args:
            record: Writes the act down, in the transaction that performs it; not called where nothing changes.
        """
        query = self._queries["drain" if drained else "undrain"]
        async with self._database.system() as connection:
            values = {"target": target, "by": by} if drained else {"target": target}
            cursor = await connection.execute(query, values)
            if cursor.rowcount and record is not None:
                await record(connection)
            await connection.execute(self._queries["tell"], {"word": "drains"})
