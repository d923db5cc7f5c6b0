"""Owns identifiers: W3C trace and span ids, and sortable ids for rows."""

import os
import random
import re
import time

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


_chance = random.Random()
"""Seeded by the system. These ids must not meet, but are no secrets: asking the system for each costs a call 1 %."""
os.register_at_fork(after_in_child=_chance.seed)


def new_trace_id() -> str:
    """Make a W3C trace id: 32 lower-case hexadecimal digits, random."""
    return f"{_chance.getrandbits(128):032x}"


def new_span_id() -> str:
    """Make a W3C span id: 16 lower-case hexadecimal digits, random."""
    return f"{_chance.getrandbits(64):016x}"


def new_id(prefix: str) -> str:
    """Make a row id such as ``key_01k8…``: 26 characters of time and randomness that sort by creation (ULID)."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return prefix + "_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def parse_traceparent(header: str | None) -> tuple[str, str] | None:
    """Read trace id and parent span id from a W3C ``traceparent`` header; ``None`` if absent or not valid.

    Source: W3C Trace Context, section 3.2 (2021-11-23): all-zero ids are invalid.
    """
    match = _TRACEPARENT.match(header.strip()) if header else None
    if match is None or not match[1].strip("0") or not match[2].strip("0"):
        return None
    return match[1], match[2]
