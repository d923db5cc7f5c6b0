"""Owns the reading of a journal: what of it is still to be shipped, and which calls have no outcome yet."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from backstay.store.folders import segment_numbers, segment_path
from backstay.store.frames import Damaged, Frame, find_frame, frame_size, read_frame
from backstay.store.journal import Position

_WINDOW_BYTES = 1024 * 1024
"""Read from the file at once."""
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
    """Whether this is all that could be read now."""


class Backlog:
    """One journal folder, read from its beginning; outcomes before its checkpoint are known to be shipped.

    The journal may still be written to: what is no frame at its end is then taken for one that is being written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged_bytes = 0
        """Bytes that were skipped because they are no frames."""
        self._oldest = min(segment_numbers(folder), default=1)
        self._place = self._done = Position(self._oldest, 0)
        self._shipped = self._read_checkpoint()
        self._open: dict[bytes, tuple[int, bytes]] = {}

    def read(self, *, max_entries: int, max_bytes: int, is_final: bool) -> Batch:
        """Read on until there are enough entries, or up to the end.

        Args:
            max_entries: How many are enough.
            max_bytes: The size at which fewer are enough.
            is_final: Whether the journal's owner is dead: what is no frame is damage then, at its very end too.
        """
        entries: list[Entry] = []
        size_bytes = 0
        for frame in self._frames(is_final):
            if entry := self._note(frame):
                entries.append(entry)
                size_bytes += entry.size_bytes
                if len(entries) >= max_entries or size_bytes >= max_bytes:
                    return Batch(entries=entries, end=self._place, is_last=False)
        return Batch(entries=entries, end=self._place, is_last=True)

    def commit(self, batch: Batch) -> None:
        """Note that a batch is in Postgres, and delete the segments that hold nothing more of use."""
        self._done = batch.end
        keep = min((segment for segment, _ in self._open.values()), default=batch.end.segment)
        while self._oldest < min(keep, batch.end.segment):
            segment_path(self.folder, self._oldest).unlink(missing_ok=True)
            self._oldest += 1
        if batch.entries:
            self._shipped = batch.end
            # On a full disk there may be no room for it. To ship once more what is there already changes nothing.
            with suppress(OSError):
                unfinished = self.folder / f"{_CHECKPOINT}.new"
                unfinished.write_text(f"{batch.end.segment} {batch.end.offset}\n")
                unfinished.replace(self.folder / _CHECKPOINT)

    def size_bytes(self) -> int:
        """Return how much was written behind the last committed batch."""
        numbers = (number for number in segment_numbers(self.folder) if number >= self._done.segment)
        return max(0, sum(map(self._segment_bytes, numbers)) - self._done.offset)

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

    def _frames(self, is_final: bool) -> Iterator[Frame]:
        """Read frame after frame; our place is behind the frame that was yielded last."""
        # Looked up before anything is read: a segment that has a successor by now is not written to any more.
        last = max(segment_numbers(self.folder), default=1)
        while True:
            segment, start = self._place.segment, self._place.offset
            limit = self._segment_bytes(segment)
            if start >= limit:
                if segment >= last:
                    return
                self._place = Position(segment + 1, 0)
                continue
            window = self._window(start, limit)
            place = 0
            with suppress(Damaged):  # or the window ends within the frame: the next one begins with it
                while True:
                    frame = read_frame(window, place)
                    place = frame.end
                    self._place = Position(segment, start + place)
                    yield frame
            if place == 0 and not self._skip_damage(limit, may_grow=segment == last and not is_final):
                return

    def _window(self, start: int, limit: int) -> bytes:
        """Read a stretch of the segment, long enough for the first frame in it."""
        window = self._pread(start, min(start + _WINDOW_BYTES, limit))
        needed = frame_size(window, 0)
        return self._pread(start, start + needed) if len(window) < needed <= limit - start else window

    def _skip_damage(self, limit: int, *, may_grow: bool) -> bool:
        """Go on at the next good frame; ``False`` if this one may be good soon, being written right now.

        A frame that claims more bytes than there are is not searched for others while it may grow: what its caller
        wrote could look like one.
        """
        start = self._place.offset
        rest = self._pread(start, limit)
        if may_grow and frame_size(rest, 0) > len(rest):
            return False
        skipped = find_frame(rest, 1)
        if may_grow and skipped == len(rest):
            return False
        self.damaged_bytes += skipped
        path = segment_path(self.folder, self._place.segment)
        _log.error("%s: %d bytes from offset %d are damaged, and skipped", path.resolve(), skipped, start)
        self._place = Position(self._place.segment, start + skipped)
        return True

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

    def _read_checkpoint(self) -> Position:
        try:
            segment, offset = (self.folder / _CHECKPOINT).read_text().split()
            return Position(int(segment), int(offset))
        except (OSError, ValueError):
            return Position(0, 0)  # all of it is shipped again, which changes nothing
