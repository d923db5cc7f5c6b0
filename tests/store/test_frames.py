"""Tests of the journal's format."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.store.frames import Damaged, EntryKind, encode_frame, find_frame, frame_size, read_frame

KINDS: list[EntryKind] = ["intent", "call"]
entries = st.tuples(
    st.sampled_from(KINDS), st.binary(min_size=8, max_size=8), st.lists(st.binary(max_size=40), max_size=4)
)


@given(entries)
def test_a_frame_reads_as_it_was_written(entry: tuple[EntryKind, bytes, list[bytes]]) -> None:
    """Kind, id and parts come back, and the frame says where it ends."""
    data = encode_frame(*entry)
    frame = read_frame(data, 0)
    assert (frame.kind, frame.entry_id, list(frame.parts), frame.end) == (*entry, len(data))
    assert frame_size(data, 0) == len(data)


@given(entries, st.data())
def test_a_changed_byte_is_noticed(entry: tuple[EntryKind, bytes, list[bytes]], data: st.DataObject) -> None:
    """No single changed byte goes unseen."""
    frame = bytearray(encode_frame(*entry))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        read_frame(bytes(frame), 0)


@given(entries, st.data())
def test_a_cut_frame_is_noticed(entry: tuple[EntryKind, bytes, list[bytes]], data: st.DataObject) -> None:
    """A frame without its end is no frame, wherever it is cut."""
    frame = encode_frame(*entry)
    with pytest.raises(Damaged):
        read_frame(frame[: data.draw(st.integers(0, len(frame) - 1))], 0)


@given(st.binary(max_size=60), entries)
def test_a_frame_behind_damage_is_found(damage: bytes, entry: tuple[EntryKind, bytes, list[bytes]]) -> None:
    """The search ends at a frame that can be read: the one that stands there, or the like by chance before it."""
    data = damage + encode_frame(*entry)
    place = find_frame(data, 0)
    assert place <= len(damage)
    assert read_frame(data, place).end <= len(data)


def test_nothing_is_found_in_nothing() -> None:
    """Where no frame follows, the search ends at the end."""
    assert find_frame(b"\xfd" * 50, 3) == 50


@pytest.mark.parametrize(("entry_id", "parts"), [(b"short", [b""]), (b"12345678", [b""] * 256)])
def test_what_has_no_frame_is_refused(entry_id: bytes, parts: list[bytes]) -> None:
    """An id of another length, or too many parts, cannot be framed."""
    with pytest.raises(ValueError, match="8 bytes"):
        encode_frame("call", entry_id, parts)
