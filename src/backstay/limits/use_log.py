"""Owns the file in which one worker notes what it uses of limits, so that it is known after its death.

A line is one ``write``, so that it survives ``kill -9`` at any instant. With it, whoever finds the worker dead can give
back all that it had borrowed and did not use: without it, what it had borrowed counts as used for a whole window.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from backstay.limits.types import Note

_NAME = "limits"
_LONGEST_BYTES = 64 * 1024

_encoder = msgspec.json.Encoder()
_notes = msgspec.json.Decoder(Note)
_log = logging.getLogger(__name__)


class UseLog:
    """The notes of one worker, in the folder of its journal."""

    def __init__(self, folder: Path):
        self._path = folder / _NAME
        self._file = -1
        self._size_bytes = 0
        self._longest_bytes = _LONGEST_BYTES
        self._is_lost = False
        self._attempt(self._open)

    def add(self, notes: Sequence[Note], untold: Callable[[], Sequence[Note]]) -> None:
        """Write notes down before what they tell of takes effect.

        Where the disk does not take them there is no log from then on: an incomplete one would give back too much.

        Args:
            untold: Lists all that the book may not know yet, of these notes too; asked for when the file has grown.
        """
        if self._is_lost or not notes:
            return
        if self._size_bytes > self._longest_bytes:
            self._attempt(lambda: self._begin_anew(untold()))
        else:
            self._attempt(lambda: self._write(notes))

    def close(self) -> None:
        """Close the file; it stays. Does nothing the second time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            _log.warning("If this worker is killed, what it borrowed of limits counts as used for a minute: %s", error)
            self._lose()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _write(self, notes: Sequence[Note]) -> None:
        lines = _lines(notes)
        written = os.write(self._file, lines)
        if written != len(lines):
            raise OSError(f"the disk took {written} of {len(lines)} bytes")
        self._size_bytes += written

    def _begin_anew(self, notes: Sequence[Note]) -> None:
        """Replace the file by one without what the book has confirmed. The old one says the same, at more length."""
        lines, new = _lines(notes), self._path.with_name(f"{_NAME}.new")
        new.write_bytes(lines)
        new.chmod(0o600)
        new.replace(self._path)
        self.close()
        self._open()
        self._size_bytes = len(lines)
        self._longest_bytes = max(_LONGEST_BYTES, 2 * len(lines))

    def _lose(self) -> None:
        self.close()
        self._is_lost = True
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.error("%s must be deleted by hand: it is incomplete: %s", self._path, error)


def read_notes(folder: Path) -> list[Note] | None:
    """Read what a worker noted; ``None`` where nobody knows what it used: it kept no log, or lost it."""
    try:
        lines = (folder / _NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    try:
        return [_notes.decode(line) for line in lines[:-1]]  # what follows the last line's end was never in effect
    except msgspec.MsgspecError:
        return None


def _lines(notes: Sequence[Note]) -> bytes:
    return b"".join(_encoder.encode(note) + b"\n" for note in notes)
