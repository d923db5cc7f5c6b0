"""Tests that identifiers do not meet, in whatever process they are made."""

import os

from backstay.core.ids import new_span_id, new_trace_id


def test_ids_have_their_length_and_differ():
    """16 and 32 lower-case hexadecimal digits, leading zeros included."""
    for make, length in ((new_span_id, 16), (new_trace_id, 32)):
        made = {make() for _ in range(10_000)}
        assert len(made) == 10_000
        assert all(len(each) == length and int(each, 16) and each == each.lower() for each in made)


def test_a_forked_process_makes_other_ids():
    """A copy of a process begins where it was copied, unless its chance is seeded anew."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_trace_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 32).decode() != new_trace_id()
    os.close(reader)
    os.close(writer)
