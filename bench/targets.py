"""Owns the targets: what a run must show for the benchmark to pass."""

from collections.abc import Sequence

import msgspec

from bench.measured import MAIN_CONCURRENCY, Measured, last_ms
from bench.stacks import AIOHTTP, BACKSTAY


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One figure beside its limit. ``at_least``: whether the limit is the least that passes, or the most."""

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def passed(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def check(measured: Measured) -> Sequence[Check]:
    """Hold a run against the targets. What depends on the machine is a ratio to the pass-through of the same run."""
    return [*_speed(measured), *_streams(measured), *_starts(measured)]


def _speed(measured: Measured) -> list[Check]:
    ours, bare = measured.short[BACKSTAY], measured.short[AIOHTTP]
    return [
        Check(
            name=f"requests/s, {MAIN_CONCURRENCY} connections, over the pass-through's",
            value=measured.throughput_ratio(MAIN_CONCURRENCY),
            limit=0.4,
            unit="×",
            at_least=True,
        ),
        Check(
            name="latency p50, 1 connection, over the pass-through's",
            value=last_ms(ours, 50) / last_ms(bare, 50),
            limit=2.0,
            unit="×",
        ),
        Check(name="latency p99, 1 connection", value=last_ms(ours, 99), limit=3.0, unit="ms"),
        Check(name="added to a 400 KB body, p50", value=measured.added_long_ms(), limit=3.0, unit="ms"),
    ]


def _streams(measured: Measured) -> list[Check]:
    streams = measured.streams
    return [
        Check(
            name="streams open at once, of those asked for",
            value=streams.most_open,
            limit=streams.asked,
            unit="",
            at_least=True,
        ),
        Check(name="of them ended well", value=streams.complete, limit=streams.asked, unit="", at_least=True),
        Check(name="tokens that were held back", value=streams.held_back * 100, limit=1.0, unit="%"),
        Check(name="worker's memory with all of them open", value=streams.peak_mib, limit=500, unit="MiB"),
    ]


def _starts(measured: Measured) -> list[Check]:
    starts = measured.starts
    return [
        Check(name="warm start until ready", value=starts.warm_s, limit=3.0, unit="s"),
        Check(name="idle worker's memory", value=starts.idle_mib, limit=150, unit="MiB"),
        Check(name="import backstay", value=starts.import_ms, limit=150, unit="ms"),
        Check(name="backstay --help", value=starts.help_ms, limit=300, unit="ms"),
    ]
