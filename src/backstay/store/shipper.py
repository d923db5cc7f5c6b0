"""Owns the shipping of journals to Postgres: those that workers write, and those that dead workers left."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import LiteralString

import psycopg

from backstay.core.errors import StoreUnavailable
from backstay.store.backlog import Backlog, Entry
from backstay.store.database import Database
from backstay.store.folders import REJECTED, Claim, Identity, OpenFolder, claim, journals, read_owner
from backstay.store.shipment import Shipment

BATCH_ENTRIES = 2_000
BATCH_BYTES = 4 * 1024 * 1024
_ROUND_S = 0.2
"""Pause between two rounds; bounds the age of what Postgres does not have yet."""
_LONGEST_ROUND_S = 1.0
"""What the pause grows to while every round has something to ship: most of a batch's price does not depend on its size,
and while Postgres works on one, callers feel it."""
_ORPHANS = 100
"""Resolved at once."""
_URGENT_PAUSE_S = 0.01
_FIRST_PAUSE_S = 0.1
_LAST_PAUSE_S = 2.0

_log = logging.getLogger(__name__)


class _Followed:
    """A journal that is read as it grows, and to its end once its owner is dead."""

    def __init__(self, folder: OpenFolder):
        self.folder = folder
        self.backlog = Backlog(folder.path)
        self.held: Claim | None = None
        """Ours since its owner is dead."""
        self.is_death_told = False
        self._not_before = 0.0

    @property
    def rests(self) -> bool:
        """Whether it is left alone for a moment after a fault."""
        return time.monotonic() < self._not_before

    def look_for_owner(self) -> None:
        """Take hold of the journal if its owner is dead, and free its name for a successor."""
        self.held = self.held or self.folder.claim()
        if self.held is not None:
            self.held.set_aside()

    def begin_anew(self, pause_s: float) -> None:
        """Read it from its checkpoint again, after a pause."""
        self.backlog = Backlog(self.folder.path)
        self._not_before = time.monotonic() + pause_s

    def close(self) -> None:
        if self.held:
            self.held.release()
        self.folder.close()


class Shipper:
    """Brings journal entries into Postgres, each exactly once in effect: the merges skip what is there by its id.

    It ships every journal under ``root``, whichever process writes it; of several shippers with one root, one ships.
    ``resolve_orphan`` turns the first part of an intent without outcome into the parts of the entry to ship for it.
    """

    def __init__(
        self,
        root: Path,
        database: Database,
        merges: Sequence[LiteralString],
        resolve_orphan: Callable[[bytes], Sequence[bytes]],
        *,
        on_death: Callable[[str, Path], Awaitable[object]] | None = None,
        on_end: Callable[[str], Awaitable[object]] | None = None,
    ):
        """Begin without any journal.

        Args:
            on_death: Called with the owner and the folder of each journal as soon as its owner is found dead; again,
                where Postgres did not answer, or the shipper itself died meanwhile.
            on_end: Called with the owner of each journal that is shipped to its end, before it is removed.
        """
        self.shipped = 0
        """Entries that Postgres has taken."""
        self._root = root
        self._resolve_orphan = resolve_orphan
        self._on_death = on_death
        self._on_end = on_end
        self._shipment = Shipment(database, merges, root / REJECTED)
        self._journals: dict[Identity, _Followed] = {}
        self._unreadable: set[Identity] = set()
        self._held: Claim | None = None
        self._is_shipping = False
        self._is_elsewhere = False
        self._urgent = asyncio.Event()
        self._caught_up = asyncio.Event()

    @property
    def rejected(self) -> int:
        """Entries that Postgres refuses and that wait in ``journal/rejected`` for a person."""
        return self._shipment.rejected

    @property
    def backlog_bytes(self) -> int:
        """What is written and not shipped yet, in all journals; 0 while another process ships them."""
        if self._is_shipping:
            self._find()
        return sum(journal.backlog.size_bytes() for journal in self._journals.values())

    async def run(self) -> None:
        """Ship until cancelled. While another process ships the same journals, wait for its end."""
        while (held := claim(self._root, make=True)) is None:
            if not self._is_elsewhere:
                _log.info("another process ships the journals in %s", self._root)
            self._is_elsewhere = True
            await asyncio.sleep(_ROUND_S)
        self._held, self._is_shipping, self._is_elsewhere = held, True, False
        pause_s = _ROUND_S
        try:
            while True:
                is_urgent, shipped = self._urgent.is_set(), self.shipped
                if await self._ship_round():
                    continue
                if is_urgent and not any(journal.rests for journal in self._journals.values()):
                    self._caught_up.set()
                pause_s = min(2 * pause_s, _LONGEST_ROUND_S) if self.shipped > shipped else _ROUND_S
                await self._pause(pause_s)
        finally:
            self._is_shipping = False
            self.let_go()

    async def drain(self, timeout_s: float) -> bool:
        """Ship what is written now without pauses; ``False`` if some of it was left when the time was over.

        ``run`` must be running. Returns ``False`` at once while another process ships.
        """
        self._caught_up.clear()
        self._urgent.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._caught_up.is_set() and not self._is_elsewhere:  # noqa: ASYNC110
                    await asyncio.sleep(_URGENT_PAUSE_S)
        self._urgent.clear()
        return self._caught_up.is_set()

    def let_go(self) -> None:
        """Close all that is open; in a forked child too, as a lock lasts as long as anybody holds it."""
        while self._journals:
            self._journals.popitem()[1].close()
        if self._held is not None:
            self._held.release()

    async def _ship_round(self) -> bool:
        """Ship a batch of each journal; return whether some have more to ship."""
        for identity in self._journals.keys() - self._find():
            self._journals.pop(identity).close()
        are_behind = [await self._ship_next(journal) for journal in tuple(self._journals.values())]
        return any(are_behind)

    def _find(self) -> Set[Identity]:
        """Begin to follow the journals that are new; return which there are."""
        found = dict(journals(self._root))
        for identity in found.keys() - self._journals.keys():
            try:
                folder = OpenFolder(found[identity])
            except FileNotFoundError:
                continue  # it was renamed meanwhile: the next look finds it
            except OSError as error:
                if identity not in self._unreadable:
                    _log.error("the journal in %s cannot be shipped: %s", found[identity], error)
                self._unreadable.add(identity)
                continue
            if folder.identity == identity:
                self._journals[identity] = _Followed(folder)
            else:
                folder.close()  # another one has that name by now
        return found.keys()

    async def _ship_next(self, journal: _Followed) -> bool:
        """Ship a journal's next batch; return whether there is more. Its faults do not hold up the others."""
        if journal.rests:
            return False
        try:
            journal.look_for_owner()
            await self._tell_of_death(journal)
            batch = journal.backlog.read(
                max_entries=BATCH_ENTRIES, max_bytes=BATCH_BYTES, is_final=journal.held is not None
            )
            await self._deliver(batch.entries)
            journal.backlog.commit(batch)
            if batch.is_last and journal.held and journal.is_death_told:
                await self._finish(journal.backlog, journal.held)
            return not batch.is_last
        except Exception:  # noqa: BLE001
            # The edge of the task: one fault must not end shipping. All since the checkpoint is read again.
            _log.exception("shipping the journal in %s failed; it is tried again", journal.folder.path.readlink())
            journal.begin_anew(_LAST_PAUSE_S)
            return False

    async def _tell_of_death(self, journal: _Followed) -> None:
        """Tell once that a journal's owner is dead, at once: how much is left to ship does not matter for that."""
        if journal.held is None or journal.is_death_told:
            return
        try:
            if self._on_death is not None and (owner := read_owner(journal.folder.path)) is not None:
                await self._on_death(owner, journal.folder.path)
        except StoreUnavailable:
            return  # the next round tells it
        except Exception:  # noqa: BLE001 - what it raises is not ours to know, and must not hold up what is to be shipped
            _log.exception("what the owner of %s had borrowed comes back later", journal.folder.path.readlink())
        journal.is_death_told = True

    async def _finish(self, backlog: Backlog, held: Claim) -> None:
        """Settle the calls that a dead worker never finished, and remove its journal, of which all else is shipped."""
        orphans = list(backlog.orphans().items())
        for start in range(0, len(orphans), _ORPHANS):
            await self._deliver([entry for item in orphans[start : start + _ORPHANS] for entry in self._resolve(*item)])
        if self._on_end is not None and (owner := read_owner(backlog.folder)) is not None:
            await self._on_end(owner)
        held.remove()
        if orphans:
            _log.warning("settled %d calls as interrupted: their worker died in the middle of them", len(orphans))

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
