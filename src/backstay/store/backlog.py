"""Owns the reading of a journal: what of it is still to be shipped, and which calls have no outcome yet."""

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from backstay.store.folders import segment_numbers, segment_path
from backstay.store.frames import Damaged, Frame, find_frame, frame_size, read_frame
from backstay.store.journal import Position

_WINDOW_BYTES = 256 * 1024
"""Read from the file at once."""
_FRAMES_AT_ONCE = 8
"""Read before the loop has its turn: calls wait for at most some 0.1 ms."""
_TURN_S = 0.0005
"""A real pause: after ``sleep(0)`` the loop would come back here before it has looked at its sockets twice."""
_CHECKPOINT = "shipped"

_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one call left, to be shipped. ``parts``: document, input, output; an empty one means that there is none."""

    entry_id: bytes
    parts: tuple[bytes, bytes, bytes]

    @classmethod
    def of(cls, entry_id: bytes, parts: Sequence[bytes]) -> "Entry":
        document, wire_input, wire_output = (*parts, b"", b"", b"")[:3]
        return cls(entry_id=entry_id, parts=(document, wire_input, wire_output))

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.parts))


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that are shipped together. ``end``: the place in the journal behind them."""

    entries: list[Entry]
    end: Position
    is_last: bool
    """Whether the journal was read to its end."""


class Backlog:
    """One journal folder, read from its beginning; outcomes before its checkpoint are known to be shipped."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged_bytes = 0
        """Bytes that were skipped because they are no frames."""
        self._oldest = min(segment_numbers(folder), default=1)
        self._place = self._done = Position(self._oldest, 0)
        self._shipped = self._read_checkpoint()
        self._open: dict[bytes, tuple[int, bytes]] = {}

    async def read(self, end: Position | None, *, max_entries: int, max_bytes: int) -> Batch:
        """Read on until there are enough entries, or up to ``end``; ``None``: up to the end of the last segment."""
        end = end or self._last()
        entries: list[Entry] = []
        size_bytes = 0
        for count, frame in enumerate(self._frames(end), start=1):
            if entry := self._note(frame):
                entries.append(entry)
                size_bytes += entry.size_bytes
                if len(entries) >= max_entries or size_bytes >= max_bytes:
                    break
            if count % _FRAMES_AT_ONCE == 0:
                await asyncio.sleep(_TURN_S)
        return Batch(entries=entries, end=self._place, is_last=self._place >= end)

    def commit(self, batch: Batch) -> None:
        """Note that a batch is in Postgres, and delete the segments that hold nothing more of use."""
        self._done = batch.end
        if batch.entries:
            self._shipped = batch.end
            unfinished = self.folder / f"{_CHECKPOINT}.new"
            unfinished.write_text(f"{batch.end.segment} {batch.end.offset}\n")
            unfinished.replace(self.folder / _CHECKPOINT)
        keep = min((segment for segment, _ in self._open.values()), default=batch.end.segment)
        while self._oldest < min(keep, batch.end.segment):
            segment_path(self.folder, self._oldest).unlink(missing_ok=True)
            self._oldest += 1

    def size_bytes(self, end: Position | None = None) -> int:
        """Return how much lies between the last committed batch and ``end``."""
        end = end or self._last()
        numbers = range(self._done.segment, end.segment)
        return sum(map(self._segment_bytes, numbers)) + end.offset - self._done.offset

    def orphans(self) -> dict[bytes, bytes]:
        """Return the first part of each intent that has no outcome, by id."""
        return {entry_id: intent for entry_id, (_, intent) in self._open.items()}

    def _note(self, frame: Frame) -> Entry | None:
        """Keep an intent in mind until its outcome comes; return an outcome that is not shipped yet."""
        if frame.kind == "intent":
            self._open[frame.entry_id] = (self._place.segment, frame.parts[0] if frame.parts else b"")
            return None
        self._open.pop(frame.entry_id, None)
        return Entry.of(frame.entry_id, frame.parts) if self._place > self._shipped else None

    def _frames(self, end: Position) -> Iterator[Frame]:
        """Read frame after frame; our place is behind the frame that was yielded last."""
        while self._place < end:
            segment, start = self._place.segment, self._place.offset
            limit = end.offset if segment == end.segment else self._segment_bytes(segment)
            if start >= limit:
                self._place = Position(segment + 1, 0)
                continue
            window = self._window(start, limit)
            if not window:
                self._place = Position(segment, limit)  # the file is shorter than it was
            place = 0
            while place < len(window):
                try:
                    frame = read_frame(window, place)
                except Damaged:
                    if place == 0:
                        self._skip_damage(limit)
                    break  # the window ends within the frame: the next one begins with it
                place = frame.end
                self._place = Position(segment, start + place)
                yield frame

    def _window(self, start: int, limit: int) -> bytes:
        """Read a stretch of the segment, long enough for the first frame in it."""
        window = self._pread(start, min(start + _WINDOW_BYTES, limit))
        needed = frame_size(window, 0)
        return self._pread(start, start + needed) if len(window) < needed <= limit - start else window

    def _skip_damage(self, limit: int) -> None:
        """Go on at the next good frame. The end of a segment is damaged where a process died while it wrote."""
        start = self._place.offset
        skipped = find_frame(self._pread(start, limit), 1)
        self.damaged_bytes += skipped
        path = segment_path(self.folder, self._place.segment)
        _log.error("%s: %d bytes from offset %d are damaged, and skipped", path, skipped, start)
        self._place = Position(self._place.segment, start + skipped)

    def _pread(self, start: int, stop: int) -> bytes:
        file = os.open(segment_path(self.folder, self._place.segment), os.O_RDONLY)
        try:
            return os.pread(file, stop - start, start)
        finally:
            os.close(file)

    def _segment_bytes(self, number: int) -> int:
        try:
            return segment_path(self.folder, number).stat().st_size
        except FileNotFoundError:
            return 0

    def _last(self) -> Position:
        number = max(segment_numbers(self.folder), default=1)
        return Position(number, self._segment_bytes(number))

    def _read_checkpoint(self) -> Position:
        try:
            segment, offset = (self.folder / _CHECKPOINT).read_text().split()
            return Position(int(segment), int(offset))
        except (FileNotFoundError, ValueError):
            return Position(0, 0)  # all of it is shipped again, which changes nothing
