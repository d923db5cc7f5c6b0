"""What a worker uses of limits is on the disk before it takes effect, as long as the disk takes it."""

import os
from pathlib import Path

import pytest

from backstay.limits.types import Note
from backstay.limits.use_log import UseLog, read_notes


def note(seq: int, amount: int = 1) -> Note:
    return Note("acme", "key:k", "requests", seq, 1_800_000_000_000_000 + seq, amount)


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    """All of them, in order, without an end of the file being marked: the process may have been killed."""
    log = UseLog(tmp_path)
    assert read_notes(tmp_path) == []
    log.add([note(1), note(2, -5)], list)
    log.add([note(3)], list)
    assert read_notes(tmp_path) == [note(1), note(2, -5), note(3)]
    assert (tmp_path / "limits").stat().st_mode & 0o077 == 0
    log.close()


def test_a_note_that_was_cut_had_no_effect(tmp_path: Path) -> None:
    """A process that dies in the middle of writing had not used it yet; damage in the middle is another matter."""
    log = UseLog(tmp_path)
    log.add([note(1)], list)
    log.close()
    with open(tmp_path / "limits", "ab") as file:
        file.write(b'["acme","key:k","requ')
    assert read_notes(tmp_path) == [note(1)]
    with open(tmp_path / "limits", "ab") as file:
        file.write(b"\n")
    assert read_notes(tmp_path) is None


def test_the_file_stays_small(tmp_path: Path) -> None:
    """What the book has confirmed is left out once the file has grown; what it may not know stays."""
    log, untold = UseLog(tmp_path), [note(9_999), note(10_000)]
    for seq in range(10_001):
        log.add([note(seq)], lambda: untold)
    notes = read_notes(tmp_path)
    assert notes is not None and set(untold) < set(notes)
    assert (tmp_path / "limits").stat().st_size < 2 * 64 * 1024
    log.close()


def test_an_incomplete_log_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk takes half a note, nothing is given back later: it would be too much."""
    log = UseLog(tmp_path)
    log.add([note(1)], list)
    write = os.write

    def write_half(file: int, text: bytes) -> int:
        return write(file, text[: len(text) // 2])

    monkeypatch.setattr(os, "write", write_half)
    log.add([note(2)], list)
    monkeypatch.undo()
    log.add([note(3)], list)
    assert read_notes(tmp_path) is None
    log.close()
