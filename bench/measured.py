"""Owns what one run has measured, and the figures that are read from it."""

import statistics
from collections.abc import Mapping, Sequence

import msgspec

from bench.load import Load
from bench.probe import Timing
from bench.stacks import AIOHTTP, BACKSTAY, DIRECT

MAIN_CONCURRENCY = 32
"""Connections at which throughput is judged."""


class Starts(msgspec.Struct, frozen=True, kw_only=True):
    """What it costs to start. ``cold_s``: with an empty data folder; ``warm_s``: with the one it left behind."""

    cold_s: float
    warm_s: float
    idle_mib: float
    import_ms: float
    help_ms: float


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Many streams at once: those that were open together, those that ended well, and what the worker took."""

    asked: int
    most_open: int
    complete: int
    peak_mib: float
    held_back: float
    """Share of the tokens that came together with the one before."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """All of one run, by the name of the stack."""

    loads: Mapping[str, Mapping[int, Sequence[Load]]]
    """For each concurrency one load a round; those of all stacks belong together, and so do the pairs after them."""
    short: Mapping[str, Sequence[Timing]]
    long: Mapping[str, Sequence[Timing]]
    streamed: Mapping[str, Sequence[Timing]]
    streams: Streams
    starts: Starts
    simulator_per_s: float

    def per_s(self, stack: str, connections: int) -> float:
        """Give a stack's requests a second: the median of the rounds."""
        return statistics.median(load.per_s for load in self.loads[stack][connections])

    def cpu_us(self, stack: str, connections: int) -> float:
        """Give the processor time of a stack's worker for each request: the median of the rounds."""
        return statistics.median(load.cpu_us for load in self.loads[stack][connections])

    def throughput_ratio(self, connections: int) -> float:
        """Give Backstay's throughput over the pass-through's: the median of the rounds' own ratios.

        A busy neighbour slows both halves of a round alike, so their ratio holds where their figures do not.
        """
        pairs = zip(self.loads[BACKSTAY][connections], self.loads[AIOHTTP][connections], strict=True)
        return statistics.median(ours.per_s / bare.per_s for ours, bare in pairs)

    def first_chunk_ms(self, stack: str) -> float:
        return percentile([timing.first_ns for timing in self.streamed[stack]], 50) / 1e6

    def added_long_ms(self) -> float:
        """Give what Backstay adds to a call with a 400 KB body, at the median."""
        return last_ms(self.long[BACKSTAY], 50) - last_ms(self.long[DIRECT], 50)


def last_ms(timings: Sequence[Timing], share: float) -> float:
    """Give a percentile of the time to the last byte, in milliseconds."""
    return percentile([timing.last_ns for timing in timings], share) / 1e6


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least ``share`` percent of the values do not exceed.

    Raises:
        ValueError: There are no values, or the share is not between 0 and 100.
    """
    if not values or not 0 <= share <= 100:
        raise ValueError("a percentile needs values, and a share from 0 to 100")
    rank = max(1, -(-len(values) * share // 100))
    return sorted(values)[int(rank) - 1]
