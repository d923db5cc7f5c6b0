"""Tests of the journal: what is written, what is read back, and what a full disk does."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.core.errors import ConfigError
from backstay.store import Journal, JournalFull
from backstay.store.backlog import Backlog, Batch, Entry
from backstay.store.folders import OpenFolder, claim, journals, segment_numbers, segment_path
from backstay.store.frames import encode_frame


def id_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


def read_all(folder: Path) -> tuple[list[int], Backlog]:
    """Read the journal of a dead worker."""
    backlog = Backlog(folder)
    return read_on(backlog, is_final=True), backlog


def read_on(backlog: Backlog, *, is_final: bool = False) -> list[int]:
    batch = backlog.read(max_entries=10_000, max_bytes=1 << 30, is_final=is_final)
    assert batch.is_last
    backlog.commit(batch)
    return [int.from_bytes(entry.entry_id, "big") for entry in batch.entries]


@pytest.fixture
def journal(journal_root: Path) -> Iterator[Journal]:
    journal = Journal.open(journal_root / "0")
    yield journal
    journal.close()


def test_entries_are_read_in_order(journal: Journal) -> None:
    """Outcomes come back whole and in order; an intent is open until its outcome is there."""
    journal.append("intent", id_of(1), [b"one"])
    journal.append("intent", id_of(2), [b"two"])
    journal.append("call", id_of(2), [b"{}", b"in", b""])
    backlog = Backlog(journal.folder)
    batch = backlog.read(max_entries=10, max_bytes=1000, is_final=False)
    assert batch.entries == [Entry(entry_id=id_of(2), parts=(b"{}", b"in", b""))]
    assert batch.end == journal.position
    assert backlog.orphans() == {id_of(1): b"one"}


def test_a_batch_is_bounded(journal: Journal) -> None:
    """A batch ends at so many entries or bytes, and the next one goes on behind it."""
    for number in range(5):
        journal.append("call", id_of(number), [b"x" * 100])
    backlog = Backlog(journal.folder)
    batches: list[Batch] = [
        backlog.read(max_entries=2, max_bytes=1 << 20, is_final=False),
        backlog.read(max_entries=100, max_bytes=150, is_final=False),
        backlog.read(max_entries=100, max_bytes=1 << 20, is_final=False),
    ]
    assert [len(batch.entries) for batch in batches] == [2, 2, 1]
    assert [batch.is_last for batch in batches] == [False, False, True]


def test_an_entry_larger_than_a_window_is_read(journal: Journal) -> None:
    """The size of an entry is not bounded by how much is read at once."""
    journal.append("call", id_of(1), [b"{}", b"x" * 3_000_000, b"y" * 400_000])
    journal.append("call", id_of(2), [b"{}"])
    batch = Backlog(journal.folder).read(max_entries=10, max_bytes=1 << 30, is_final=False)
    assert [entry.size_bytes for entry in batch.entries] == [3_400_002, 2]


def test_segments_rotate_and_go_when_shipped(journal_root: Path) -> None:
    """A segment is deleted when it is shipped and every call that began in it has ended."""
    journal = Journal.open(journal_root / "0", segment_bytes=200)
    journal.append("intent", id_of(0), [b"open"])
    for number in range(1, 7):
        journal.append("call", id_of(number), [b"x" * 100])
    backlog = Backlog(journal.folder)
    batch = backlog.read(max_entries=100, max_bytes=1 << 20, is_final=False)
    backlog.commit(batch)
    assert segment_numbers(journal.folder) == [1, 2, 3]
    journal.append("call", id_of(0), [b"done"])
    backlog.commit(backlog.read(max_entries=100, max_bytes=1 << 20, is_final=False))
    assert segment_numbers(journal.folder) == [journal.position.segment]
    assert backlog.size_bytes() == 0
    journal.close()


def test_a_second_reading_skips_what_was_shipped(journal: Journal) -> None:
    """The checkpoint tells which outcomes are shipped; intents before it still count."""
    journal.append("intent", id_of(1), [b"open"])
    journal.append("call", id_of(2), [b"{}"])
    first = Backlog(journal.folder)
    first.commit(first.read(max_entries=100, max_bytes=1 << 20, is_final=False))
    journal.append("call", id_of(3), [b"{}"])
    numbers, backlog = read_all(journal.folder)
    assert numbers == [3]
    assert backlog.orphans() == {id_of(1): b"open"}


def test_damage_is_skipped(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    """What lies behind a damaged frame is read all the same, and the damage is told and counted."""
    places = [journal.position.offset]
    for number in range(4):
        journal.append("call", id_of(number), [b"x" * 50])
        places.append(journal.position.offset)
    path = segment_path(journal.folder, 1)
    data = bytearray(path.read_bytes())
    data[places[1] + 20] ^= 0xFF
    data[places[2]] = 0xFF
    path.write_bytes(bytes(data))
    numbers, backlog = read_all(journal.folder)
    assert numbers == [0, 3]
    assert backlog.damaged_bytes == places[3] - places[1]
    assert "damaged" in caplog.text


@given(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=5), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_torn_end_is_waited_for_while_its_writer_lives(sizes: list[int], data: st.DataObject) -> None:
    """Wherever a reader finds a frame half written, it takes it for no damage, and reads it once it is whole."""
    frames = [encode_frame("call", id_of(number), [b"{}", b"x" * size]) for number, size in enumerate(sizes)]
    whole = b"".join(frames)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    with tempfile.TemporaryDirectory() as folder:
        backlog, numbers = Backlog(Path(folder)), list[int]()
        for cut in (*cuts, len(whole)):
            segment_path(Path(folder), 1).write_bytes(whole[:cut])
            numbers += read_on(backlog)
    assert numbers == list(range(len(frames)))
    assert (backlog.damaged_bytes, backlog.size_bytes()) == (0, 0)


def test_a_half_written_frame_may_be_cut_off_again(journal: Journal) -> None:
    """A writer whose disk is full takes the half frame back; the reader goes on with what comes instead."""
    backlog = Backlog(journal.folder)
    journal.append("call", id_of(1), [b"{}"])
    path, frame = segment_path(journal.folder, 1), encode_frame("call", id_of(2), [b"{}", b"x" * 500])
    with open(path, "ab") as file:
        file.write(frame[:300])
    assert read_on(backlog) == [1]
    os.truncate(path, journal.position.offset)
    assert read_on(backlog) == []
    journal.append("call", id_of(3), [b"{}", b"y" * 100])
    assert read_on(backlog) == [3]
    assert backlog.damaged_bytes == 0


def test_what_a_half_written_frame_holds_is_no_frame(journal: Journal) -> None:
    """A caller cannot slip an entry in: what looks like a frame inside one that is being written is not read."""
    slipped_in = encode_frame("call", id_of(666), [b"{}"])
    frame = encode_frame("call", id_of(1), [b"{}", b"x" * 100 + slipped_in + b"x" * 100])
    backlog = Backlog(journal.folder)
    path = segment_path(journal.folder, 1)
    path.write_bytes(frame[:-50])
    assert read_on(backlog) == []
    path.write_bytes(frame)
    assert read_on(backlog) == [1]


def test_damage_in_a_living_journal_is_skipped(journal: Journal) -> None:
    """What is bad is damage where a good frame follows, or a later segment; and the rest is read."""
    for number in range(3):
        journal.append("call", id_of(number), [b"x" * 50])
    end = journal.position.offset
    path = segment_path(journal.folder, 1)
    good = path.read_bytes()
    path.write_bytes(good[: end // 3 + 30] + b"?" + good[end // 3 + 31 :] + b"\xff\xff\xff\x00torn")
    backlog = Backlog(journal.folder)
    assert read_on(backlog) == [0, 2]
    assert backlog.damaged_bytes == end // 3
    segment_path(journal.folder, 2).write_bytes(encode_frame("call", id_of(3), [b"{}"]))
    assert read_on(backlog) == [3]
    assert backlog.damaged_bytes == end // 3 + 8


def test_a_folder_is_followed_through_its_renaming(journal_root: Path) -> None:
    """Reading, checkpoint and claim go with the folder, and do not touch the one that takes its name."""
    first = Journal.open(journal_root / "0")
    first.append("call", id_of(1), [b"{}"])
    folder = OpenFolder(journal_root / "0")
    backlog = Backlog(folder.path)
    assert read_on(backlog) == [1]
    assert folder.claim() is None
    first.append("call", id_of(2), [b"{}"])
    first.close()
    second = Journal.open(journal_root / "0")
    second.append("call", id_of(3), [b"{}"])
    assert read_on(backlog) == [2]
    held = folder.claim()
    assert held is not None and held.path.name.startswith("left-")
    assert (held.path / "shipped").exists() and not (second.folder / "shipped").exists()
    held.remove()
    held.release()
    folder.close()
    assert segment_numbers(second.folder) == [1]
    second.close()


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=5), data=st.data())
def test_a_torn_end_costs_only_the_torn_entry(sizes: list[int], data: st.DataObject) -> None:
    """Cut anywhere, a segment gives every entry before the cut that was whole, and nothing else."""
    frames = [encode_frame("call", id_of(number), [b"{}", b"x" * size]) for number, size in enumerate(sizes)]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(b"".join(frames[: count + 1])) for count in range(len(frames))]
    with tempfile.TemporaryDirectory() as folder:
        segment_path(Path(folder), 1).write_bytes(whole[:cut])
        numbers, backlog = read_all(Path(folder))
    assert numbers == [number for number, end in enumerate(ends) if end <= cut]
    assert backlog.damaged_bytes == cut - max((end for end in ends if end <= cut), default=0)


def test_a_folder_has_one_journal(journal: Journal) -> None:
    """A second worker cannot write into the folder of a living one."""
    with pytest.raises(ConfigError, match="Another process"):
        Journal.open(journal.folder)


def test_an_old_journal_is_set_aside(journal_root: Path) -> None:
    """A worker that starts anew leaves its predecessor's entries to be shipped, under another name."""
    first = Journal.open(journal_root / "0")
    first.append("call", id_of(1), [b"{}"])
    first.close()
    second = Journal.open(journal_root / "0")
    assert segment_path(second.folder, 1).stat().st_size == 0
    (left,) = (path for _, path in journals(journal_root) if path != second.folder)
    assert left.name.startswith("left-")
    assert segment_path(left, 1).stat().st_size > 0
    second.close()


def test_journals_are_private(journal: Journal) -> None:
    """Nobody else on the machine may read what callers wrote."""
    assert journal.folder.stat().st_mode & 0o077 == 0
    assert segment_path(journal.folder, 1).stat().st_mode & 0o077 == 0


_WRITER = """
import sys
from pathlib import Path
from backstay.store import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=1_000_000)
number = 0
while True:
    number += 1
    journal.append("intent", number.to_bytes(8, "big"), [b"i" * 100])
    journal.append("call", number.to_bytes(8, "big"), [b"{}", b"x" * 2000, b"y" * 500])
    if number % 1000 == 0:
        print(number, flush=True)
"""


def write_until_killed(folder: Path) -> int:
    """Let a process write into a journal, kill it, and return the last entry that it told to be written."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(3)][-1]
        assert claim(folder) is None
        writer.send_signal(signal.SIGKILL)
    return told


def run_python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_a_killed_writer_loses_nothing(journal_root: Path) -> None:
    """After kill -9 in the middle of writing, everything that was appended is there, once, in order."""
    folder = journal_root / "0"
    told = await asyncio.to_thread(write_until_killed, folder)
    numbers, backlog = read_all(folder)
    assert len(numbers) >= told
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(backlog.orphans()) <= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk; the test by file size limit covers it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_outcomes_and_refuses_intents(small_disk: Path) -> None:
    """On a full disk no new call is let in, and the outcomes of those under way are written once there is room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 200_000)
    journal = Journal.open(small_disk / "0")
    with pytest.raises(JournalFull):
        for number in range(1000):
            journal.append("intent", id_of(number), [b"x" * 500])
    assert journal.full
    with pytest.raises(JournalFull):
        journal.require_room()
    journal.append("call", id_of(1), [b"{}", b"x" * 5000])
    assert journal.parked_bytes > 5000
    journal.recover()
    assert journal.full
    ballast.unlink()
    journal.recover()
    assert (journal.full, journal.parked_bytes) == (False, 0)
    journal.append("call", id_of(2), [b"{}"])
    numbers, backlog = read_all(journal.folder)
    assert numbers == [1, 2]
    assert backlog.damaged_bytes == 0
    journal.close()


_LIMITED = """
import resource, sys
from pathlib import Path
from backstay.store import Journal, JournalFull
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1_000_000))
journal = Journal.open(Path(sys.argv[1]))
journal.append("intent", bytes(8), [b"x" * 900])
try:
    journal.append("intent", bytes(7) + b"1", [b"x" * 900])
except JournalFull:
    print("refused", journal.position.offset)
journal.append("call", bytes(8), [b"{}", b"x" * 900])
print("parked", journal.parked_bytes)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
journal.recover()
print("full", journal.full)
journal.close()
"""


async def test_a_short_write_leaves_no_trace(journal_root: Path) -> None:
    """A frame that the disk took in part is cut off again, and what follows can be read."""
    output = await asyncio.to_thread(run_python, _LIMITED, journal_root / "0")
    assert output.split() == ["refused", "922", "parked", "928", "full", "False"]
    numbers, backlog = read_all(journal_root / "0")
    assert numbers == [0]
    assert backlog.damaged_bytes == 0


def test_parked_outcomes_are_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stays full does not fill the memory too."""
    monkeypatch.setattr("backstay.store.journal.PARKED_BYTES", 1000)
    journal.full = True
    journal.append("call", id_of(1), [b"x" * 600])
    with pytest.raises(JournalFull):
        journal.append("call", id_of(2), [b"x" * 600])


def test_fsync_can_be_asked_for(journal_root: Path) -> None:
    """With fsync an entry is on the disk when append returns; it reads the same."""
    journal = Journal.open(journal_root / "0", fsync=True)
    journal.append("call", id_of(1), [b"{}"])
    assert segment_path(journal.folder, 1).read_bytes() == encode_frame("call", id_of(1), [b"{}"])
    journal.close()
