"""Owns the way of a batch of entries into Postgres: one transaction, and a way around an entry that it refuses."""

import logging
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString

import psycopg

from backstay.store.backlog import Entry
from backstay.store.database import Database, is_about_data
from backstay.store.frames import encode_frame
from backstay.store.queries import load_queries

TIMEOUT_S = 20.0
_BYTES_PER_S = 1_000_000
"""Slowest link that a large batch is given time for, beyond ``TIMEOUT_S``."""
_TIMES = re.compile(rb'"(?:started_at|at)_ns":(\d+)')
_NS_PER_DAY = 86_400 * 1_000_000_000
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""In JSON: not where the backslash is itself escaped."""
_FIELDS = struct.Struct("!h")
_LENGTH = struct.Struct("!i")
_NULL = _LENGTH.pack(-1)
_JSONB_VERSION = b"\1"
"""What jsonb's binary format begins with; the text follows."""

_log = logging.getLogger(__name__)


class Shipment:
    """Where entries go. ``merges`` take them from the temporary table ``shipment`` into the tables of the rooms."""

    def __init__(self, database: Database, merges: Sequence[LiteralString], rejected: Path):
        self.rejected = 0
        """Entries that Postgres does not take and that lie in the folder of the rejected."""
        self._database = database
        self._merges = merges
        self._rejected = rejected
        self._queries = load_queries("backstay.store", "shipment.sql")
        self._days: set[int] = set()

    async def ship(self, entries: Sequence[Entry]) -> int:
        """Bring entries into Postgres and return how many it took; those that were there already change nothing.

        What no text of Postgres can hold, NUL and bytes that are not UTF-8, becomes U+FFFD.

        Raises:
            StoreUnavailable: Postgres is away. Some of the entries may be there.
            psycopg.Error: It refuses for a reason that lies not in the entries, such as a missing table.
        """
        entries = [_storable(entry) for entry in entries]
        try:
            await self._ensure_partitions(entries)
            await self._transfer(entries)
            return len(entries)
        except psycopg.Error as error:
            if not is_about_data(error):
                raise
            self._days.clear()
            return await self._isolate(entries, error)

    async def _transfer(self, entries: Sequence[Entry]) -> None:
        timeout_s = TIMEOUT_S + sum(entry.size_bytes for entry in entries) / _BYTES_PER_S
        async with self._database.system(timeout_s=timeout_s) as connection:
            await connection.execute(self._queries["prepare"])
            async with connection.cursor() as cursor, cursor.copy(self._queries["copy"]) as copy:
                await copy.write(_copy_of(entries))
            for merge in self._merges:
                await connection.execute(merge)

    async def _ensure_partitions(self, entries: Sequence[Entry]) -> None:
        """Make the partitions of days that are new to us, first and apart: it locks whole tables for a moment."""
        days = {int(time) // _NS_PER_DAY for entry in entries for time in _TIMES.findall(entry.parts[0])}
        if days := days - self._days:
            async with self._database.system(timeout_s=TIMEOUT_S) as connection:
                await connection.execute(self._queries["ensure_partitions"], {"days": sorted(days)})
            self._days |= days

    async def _isolate(self, entries: Sequence[Entry], error: psycopg.Error) -> int:
        """Halve a batch until the entry is alone that Postgres refuses; ship that one without its messages."""
        if len(entries) > 1:
            middle = len(entries) // 2
            return await self.ship(entries[:middle]) + await self.ship(entries[middle:])
        (entry,) = entries
        bare = Entry(entry_id=entry.entry_id, parts=(entry.parts[0], b"", b""))
        if bare == entry:
            self.reject(entry, error)
            return 0
        # The error's text may quote what the caller wrote, so that only its name is told.
        _log.error(
            "Postgres refuses call %s (%s); only its figures are kept", entry.entry_id.hex(), type(error).__name__
        )
        return await self.ship([bare])

    def reject(self, entry: Entry, error: Exception) -> None:
        """Put an entry aside, for a person to look at: a file with its one frame."""
        self._rejected.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._rejected / f"{entry.entry_id.hex()}.frame"
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(encode_frame("call", entry.entry_id, entry.parts))
        self.rejected += 1
        _log.error("call %s cannot be shipped (%s); it is kept in %s", entry.entry_id.hex(), type(error).__name__, path)


def _storable(entry: Entry) -> Entry:
    document, given, answered = entry.parts
    if b"\\u0000" in document:
        document = _NUL.sub(rb"\1\\ufffd", document)
    parts = (document, _as_text(given), _as_text(answered))
    return entry if parts == entry.parts else Entry(entry_id=entry.entry_id, parts=parts)


def _as_text(written: bytes) -> bytes:
    if not written.isascii():
        written = written.decode(errors="replace").encode()
    return written.replace(b"\0", "\ufffd".encode()) if b"\0" in written else written


def _copy_of(entries: Sequence[Entry]) -> bytes:
    """Write entries in COPY's binary format, of which nothing need be escaped. A part that is empty is null.

    Source: https://www.postgresql.org/docs/18/sql-copy.html (2025), binary format.
    """
    pieces = [b"PGCOPY\n\xff\r\n\0", bytes(8)]
    for entry in entries:
        document, *texts = entry.parts
        pieces += (_FIELDS.pack(4), *_field(entry.entry_id.hex().encode()), *_field(document, _JSONB_VERSION))
        for text in texts:
            pieces += _field(text) if text else (_NULL,)
    pieces.append(_FIELDS.pack(-1))
    return b"".join(pieces)


def _field(value: bytes, prefix: bytes = b"") -> tuple[bytes, bytes, bytes]:
    return _LENGTH.pack(len(prefix) + len(value)), prefix, value
