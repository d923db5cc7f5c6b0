"""Owns the shipping of journals to Postgres: this worker's own, and those that dead workers left."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import LiteralString

import psycopg

from backstay.core.errors import StoreUnavailable
from backstay.store.backlog import Backlog, Entry
from backstay.store.database import Database
from backstay.store.folders import REJECTED, Claim, dead_journals
from backstay.store.journal import Journal, Position
from backstay.store.shipment import Shipment

BATCH_ENTRIES = 1_000
BATCH_BYTES = 8 * 1024 * 1024
_ROUND_S = 0.2
"""Pause between two batches, so that they grow under load; bounds the age of what Postgres does not have yet."""
_ADOPTION_S = 3.0
_ORPHANS = 100
"""Resolved at once."""
_URGENT_PAUSE_S = 0.01
_FIRST_PAUSE_S = 0.1
_LAST_PAUSE_S = 2.0

_log = logging.getLogger(__name__)


class Shipper:
    """Brings journal entries into Postgres, each exactly once in effect: the merges skip what is there by its id.

    ``resolve_orphan`` turns the first part of an intent without outcome into the parts of the entry to ship for it.
    """

    def __init__(
        self,
        journal_root: Path,
        journal: Journal,
        database: Database,
        merges: Sequence[LiteralString],
        resolve_orphan: Callable[[bytes], Sequence[bytes]],
    ):
        self.shipped = 0
        """Entries that Postgres has taken from this worker."""
        self._root = journal_root
        self._journal = journal
        self._resolve_orphan = resolve_orphan
        self._shipment = Shipment(database, merges, journal_root / REJECTED)
        self._own = Backlog(journal.folder)
        self._adopted: Backlog | None = None
        self._urgent = asyncio.Event()

    @property
    def rejected(self) -> int:
        """Entries that Postgres refuses and that wait in ``journal/rejected`` for a person."""
        return self._shipment.rejected

    @property
    def backlog_bytes(self) -> int:
        """What is written and not shipped yet, in this worker's journal and in the one that it adopts."""
        own = self._own.size_bytes(self._journal.position) + self._journal.parked_bytes
        return own + (self._adopted.size_bytes() if self._adopted else 0)

    async def run(self) -> None:
        """Ship until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ship_own())
            tasks.create_task(self._adopt_dead())

    async def drain(self, timeout_s: float) -> bool:
        """Ship what is written now without pauses; ``False`` if some of it was left when the time was over.

        ``run`` must be running.
        """
        self._urgent.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._own.size_bytes(self._journal.position) or self._journal.parked_bytes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        self._urgent.clear()
        return not self._own.size_bytes(self._journal.position)

    async def _ship_own(self) -> None:
        while True:
            self._journal.recover()
            try:
                was_last = await self._ship_batch(self._own, self._journal.position)
            except Exception:  # noqa: BLE001
                # The edge of the task: one fault must not end shipping. All since the checkpoint is read again.
                _log.exception("shipping the journal in %s failed; it goes on", self._journal.folder)
                self._own = Backlog(self._journal.folder)
                await asyncio.sleep(_LAST_PAUSE_S)
                continue
            if was_last:
                await self._pause(_ROUND_S)

    async def _adopt_dead(self) -> None:
        while True:
            for held in dead_journals(self._root):
                try:
                    await self._adopt(held)
                except Exception:  # noqa: BLE001
                    # The edge of the task, as above: the next round tries it again.
                    _log.exception("shipping the journal left in %s failed; it is tried again", held.path)
                finally:
                    self._adopted = None
                    held.release()
            await asyncio.sleep(_ADOPTION_S)

    async def _adopt(self, held: Claim) -> None:
        """Ship what a dead worker left, calls that it never finished included, and remove its folder."""
        held.set_aside()
        self._adopted = backlog = Backlog(held.path)
        while not await self._ship_batch(backlog, None):
            pass
        orphans = list(backlog.orphans().items())
        for start in range(0, len(orphans), _ORPHANS):
            await self._deliver([entry for item in orphans[start : start + _ORPHANS] for entry in self._resolve(*item)])
        held.remove()
        if orphans:
            _log.warning("settled %d calls as interrupted: their worker died in the middle of them", len(orphans))

    async def _ship_batch(self, backlog: Backlog, end: Position | None) -> bool:
        """Ship the next entries of a journal; return whether that was all there is up to ``end``."""
        batch = await backlog.read(end, max_entries=BATCH_ENTRIES, max_bytes=BATCH_BYTES)
        await self._deliver(batch.entries)
        backlog.commit(batch)
        return batch.is_last

    async def _deliver(self, entries: Sequence[Entry]) -> None:
        """Ship entries, however long Postgres is away."""
        pause_s = _FIRST_PAUSE_S
        while entries:
            try:
                self.shipped += await self._shipment.ship(entries)
                if pause_s > _FIRST_PAUSE_S:
                    _log.info("Postgres takes the journal again")
                return
            except (StoreUnavailable, psycopg.Error) as error:
                if pause_s == _FIRST_PAUSE_S:
                    _log.warning("Postgres does not take the journal now; it is kept: %s", error.__cause__ or error)
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    def _resolve(self, entry_id: bytes, intent: bytes) -> Iterator[Entry]:
        try:
            yield Entry.of(entry_id, self._resolve_orphan(intent))
        except Exception as error:  # noqa: BLE001
            # What it raises is not ours to know, and an intent that cannot be read must not hold up the others.
            self._shipment.reject(Entry.of(entry_id, (intent,)), error)

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._urgent.wait()
                await asyncio.sleep(_URGENT_PAUSE_S)
