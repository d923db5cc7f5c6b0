"""Owns the writing of the journal: every call leaves its intent and its outcome here before anything else happens.

An entry is one ``writev`` to a file, so that it survives the death of the process at any instant. It does not survive
the loss of power unless ``fsync`` is asked for, which costs each call a wait for the disk.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from backstay.core.errors import ConfigError, Overloaded
from backstay.core.ids import new_id
from backstay.store.folders import Claim, claim, segment_numbers, segment_path, write_owner
from backstay.store.frames import EntryKind, frame_pieces

SEGMENT_BYTES = 64 * 1024 * 1024
PARKED_BYTES = 64 * 1024 * 1024
"""Bound of the outcomes that are kept in memory while the disk takes nothing."""
_CLAIM_TRIES = 50
_CLAIM_PAUSE_S = 0.02
_RECOVERY_S = 0.2

_log = logging.getLogger(__name__)


class JournalFull(Overloaded):
    """The disk takes no more of the journal. Free some space, or bring Postgres back, and try again."""

    code = "journal_full"


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in a journal."""

    segment: int
    offset: int


class Journal:
    """The journal of one worker: append-only segments in a folder that nobody else writes to."""

    def __init__(self, held: Claim, *, fsync: bool, segment_bytes: int):
        self.full = False
        """Whether the disk took nothing the last time: no new calls should be admitted."""
        self.parked_bytes = 0
        self._held = held
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._parked: deque[bytes] = deque()
        self._segment = 0
        self._offset = 0
        self._file = -1
        self._is_torn = False
        self.owner = new_id("wrk")
        """Who writes it: what is leased to this name is settled once the journal is shipped to its end."""
        write_owner(held.path, self.owner)
        self._begin_segment()

    @classmethod
    def open(cls, folder: Path, *, fsync: bool = False, segment_bytes: int = SEGMENT_BYTES) -> "Journal":
        """Begin a journal in a folder. One that an earlier process left there is set aside for the shipper.

        Raises:
            ConfigError: Another process uses the folder, or it cannot be written.
        """
        try:
            for _ in range(_CLAIM_TRIES):
                held = claim(folder, make=True)
                if held is None:
                    time.sleep(_CLAIM_PAUSE_S)  # a shipper may hold it for the moment it takes to set it aside
                elif segment_numbers(folder):
                    held.set_aside()
                    held.release()
                else:
                    return cls(held, fsync=fsync, segment_bytes=segment_bytes)
        except OSError as error:
            raise ConfigError(
                f"The journal cannot be kept in {folder}: {error.strerror}. Free some space, or choose another place "
                "with BACKSTAY_DATA_DIR."
            ) from error
        raise ConfigError(f"Another process keeps its journal in {folder}. Stop it, or use another data folder.")

    @property
    def folder(self) -> Path:
        return self._held.path

    @property
    def position(self) -> Position:
        """The end of what is written."""
        return Position(self._segment, self._offset)

    def require_room(self) -> None:
        """Raise ``JournalFull`` while the disk takes nothing: a call that is let in now would be lost to the books."""
        if self.full:
            raise JournalFull()

    def append(self, kind: EntryKind, entry_id: bytes, parts: Sequence[bytes]) -> None:
        """Write one entry. ``entry_id``: 8 bytes, the call's span id.

        A ``call`` that the disk does not take is kept in memory, up to a bound, and written later.

        Raises:
            JournalFull: Nothing was written or kept.
        """
        pieces = frame_pieces(kind, entry_id, parts)
        size = sum(map(len, pieces))
        if not self.full and self._write(pieces, size):
            return
        if kind == "intent" or self.parked_bytes + size > PARKED_BYTES:
            raise JournalFull()
        self._parked.append(b"".join(pieces))
        self.parked_bytes += size

    def recover(self) -> None:
        """Write what waits in memory; once nothing does, new entries are taken again."""
        while self._parked and self._write([self._parked[0]], len(self._parked[0])):
            self.parked_bytes -= len(self._parked.popleft())
        self.full = bool(self._parked)

    async def keep(self) -> None:
        """Recover soon after the disk takes something again, until cancelled."""
        while True:
            if self.full:
                self.recover()
            await asyncio.sleep(_RECOVERY_S)

    def close(self) -> None:
        """Write what waits in memory, as far as the disk takes it, and let go of the folder."""
        self.recover()
        if self._parked:
            _log.error("the disk is full: %d calls that were made are lost to the books", len(self._parked))
        os.close(self._file)
        self._held.release()

    def let_go(self) -> None:
        """In a forked child: hold nothing of the parent's journal, which is locked as long as anybody holds it."""
        os.close(self._file)
        self._held.release()

    def _write(self, pieces: Sequence[bytes], size: int) -> bool:
        """Write a whole frame or nothing; ``False`` if the disk did not take it, and ``full`` says so."""
        try:
            if self._offset >= self._segment_bytes or self._is_torn:
                self._begin_segment()
            written = os.writev(self._file, pieces)
            if written == size:
                if self._fsync:
                    self._is_torn = True  # where this fails: a reader may have got beyond the place of the cut
                    os.fdatasync(self._file)
                    self._is_torn = False
                self._offset += written
                return True
            reason = f"it took {written} of {size} bytes"
        except OSError as error:
            reason = str(error)
        if not self.full:
            _log.error("the journal in %s cannot be written: %s", self.folder, reason)
        self.full = True
        self._undo()
        return False

    def _undo(self) -> None:
        """Cut off a part of a frame; where even that fails, what follows goes into a new segment."""
        try:
            os.ftruncate(self._file, self._offset)
        except OSError as error:
            _log.error("the journal in %s cannot be cut: %s", self.folder, error)
            self._is_torn = True

    def _begin_segment(self) -> None:
        number = self._segment + 1
        path = segment_path(self.folder, number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment, self._offset, self._is_torn = file, number, 0, False
