"""Owns how much is measured: a whole run of about five minutes, or a quick one of about one."""

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds are interleaved: each measures every stack once, so that a busy neighbour harms all alike."""

    rounds: int
    pairs: int
    """Further rounds of Backstay and the pass-through alone, at the concurrency whose ratio is a target."""
    load_s: float
    """Seconds of load for each stack, concurrency and round."""
    concurrencies: tuple[int, ...] = (1, 32, 128)
    latency_calls: int
    """Calls one after the other, for each stack."""
    long_calls: int
    """Calls with a 400 KB body, for each stack."""
    first_chunk_calls: int
    """Streamed calls, for each stack."""
    streams: int = 1000
    stream_s: float
    """How long each of the many streams lasts."""
    starts: int
    """Starts of a process whose time is taken: the median counts."""
    peers: bool = False
    """Whether LiteLLM's proxy is installed and measured, too."""


def whole(*, peers: bool) -> Plan:
    return Plan(
        rounds=5,
        pairs=16,
        load_s=3,
        latency_calls=3000,
        long_calls=200,
        first_chunk_calls=600,
        stream_s=10,
        starts=7,
        peers=peers,
    )


def quick(*, peers: bool) -> Plan:
    return Plan(
        rounds=3,
        pairs=4,
        load_s=1,
        latency_calls=1000,
        long_calls=60,
        first_chunk_calls=200,
        stream_s=10,
        starts=3,
        peers=peers,
    )
