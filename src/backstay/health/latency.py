"""Owns what is known of a target's latencies: quantiles of the recent past, in constant memory. Pure."""

import math
from collections.abc import Iterable, Mapping

_FASTEST_S = 0.0005
_RATIO = 1.25
"""Each bucket reaches 1.25 times as far as the one before: a quantile is off by at most 12 %."""
_BUCKETS = 64
"""Up to some 800 seconds."""
_LOG_RATIO = math.log(_RATIO)
_HALF_LIFE = 256
"""After so many observations all counts are halved, so that old ones fade."""


class Latencies:
    """A decaying histogram of seconds."""

    __slots__ = ("_counts", "_since", "_total", "seen")

    def __init__(self) -> None:
        self.seen = 0
        """Observations ever made."""
        self._counts = [0.0] * _BUCKETS
        self._total = 0.0
        self._since = 0

    def add(self, seconds: float) -> None:
        """Count one observation."""
        place = 0
        if seconds > _FASTEST_S:
            place = min(_BUCKETS - 1, 1 + int(math.log(seconds / _FASTEST_S) / _LOG_RATIO))
        self._counts[place] += 1.0
        self._total += 1.0
        self.seen += 1
        self._since += 1
        if self._since >= _HALF_LIFE:
            self._since = 0
            self._counts = [count / 2 for count in self._counts]
            self._total /= 2

    def quantile(self, share: float) -> float | None:
        """Return the latency, in seconds, below which this share lies; ``None`` before the first observation."""
        return _quantile(enumerate(self._counts), share * self._total) if self.seen else None

    def counts(self) -> dict[int, float]:
        """Return how many observations are in each bucket that has some, to be added to those of other workers."""
        return {place: count for place, count in enumerate(self._counts) if count}


def quantile_of(histograms: Iterable[Mapping[int, float]], share: float) -> float | None:
    """Return the latency, in seconds, below which this share of several workers' observations lies."""
    added: dict[int, float] = {}
    for place, count in (each for histogram in histograms for each in histogram.items()):
        added[place] = added.get(place, 0.0) + count
    return _quantile(sorted(added.items()), share * sum(added.values())) if added else None


def _quantile(counts: Iterable[tuple[int, float]], left: float) -> float:
    for place, count in counts:
        left -= count
        if left <= 0 and count:
            return _FASTEST_S * _RATIO ** (place - 0.5) if place else _FASTEST_S
    return _FASTEST_S * _RATIO**_BUCKETS
