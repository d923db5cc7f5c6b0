"""Owns the metrics of calls, counted in each worker and shown for all of them in Prometheus' text format.

Counting must cost next to nothing on the way of a call: ``prometheus_client``'s own multiprocess values cost 3.6 µs a
histogram, so a worker counts in plain integers and writes them to a file of its own once a second. The library writes
the text.
"""

import asyncio
import logging
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from backstay.core.money import NANO_PER_USD
from backstay.tracing.types import Span

# Source: OpenTelemetry semantic conventions for generative AI metrics, main (2026-11-23).
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = tuple(4**power for power in range(14))

_MAX_SERIES = 256
"""Label sets of one worker, about 12 KB of text each. What comes after them counts as ``other``."""

_MAX_READINGS = 1_000
"""Label sets of one family of readings. Counts of what comes after them are of ``other``; gauges leave it out."""

_OTHER = "other"
_FLUSH_S = 1.0

_log = logging.getLogger(__name__)


class _Labels(msgspec.Struct, frozen=True, array_like=True):
    operation: str
    model: str
    target: str
    status: str
    error: str


class _Histogram(msgspec.Struct, array_like=True):
    counts: list[int]
    """Observations up to each bound, each in one bucket only, and those past the last bound."""
    total: float = 0.0

    def add(self, bounds: Sequence[float], value: float) -> None:
        self.counts[bisect_left(bounds, value)] += 1
        self.total += value


class _Series(msgspec.Struct, array_like=True):
    labels: _Labels
    duration_s: _Histogram
    first_token_s: _Histogram
    input_tokens: _Histogram
    output_tokens: _Histogram
    cost_nanousd: int = 0
    unknown_costs: int = 0


Kind = Literal["gauge", "counter"]
Values = Iterable[tuple[Mapping[str, str], float]]
"""Numbers, each with its labels."""


class _Reading(msgspec.Struct, array_like=True):
    name: str
    help: str
    kind: Kind
    value: float
    labels: dict[str, str] = {}


class _Family(msgspec.Struct):
    """Readings of one name, read together."""

    name: str
    help: str
    kind: Kind
    read: Callable[[], Values]


class _Snapshot(msgspec.Struct, array_like=True):
    """What one process knows, as it stands in its file."""

    pid: int
    is_worker: bool
    series: list[_Series]
    readings: list[_Reading]


class CallMetrics:
    """The metrics of this worker, and the sums over all workers that share its folder.

    A worker that takes the place of a dead one goes on from its counts, so that counters never fall.
    """

    def __init__(self, folder: Path, slot: str, *, is_worker: bool = True):
        """Open the metrics of one process.

        Args:
            folder: Where the processes' files are; made if missing.
            slot: The process's place among them, such as ``0``: no two live ones have the same.
            is_worker: Whether it counts as one: the process that ships the journals shows values, but answers nobody.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._is_worker = is_worker
        self._file = folder / f"{slot}.metrics"
        before = _read(self._file)
        self._series = {_key(series.labels): series for series in before.series} if before else {}
        self._families: list[_Family] = []
        self._degraded: dict[tuple[str, str], int] = {}
        """Degraded answers by model and what stood in."""
        self.add_family("backstay_degraded_total", "Degraded answers.", "counter", self._read_degraded)
        self._before: dict[str, dict[tuple[str, ...], _Reading]] = {}
        """Counts of the process whose place this one took, by name and label values."""
        for reading in before.readings if before else ():
            if reading.kind == "counter":
                self._before.setdefault(reading.name, {})[tuple(reading.labels.values())] = reading
        self._written = b""

    def observe(self, span: Span) -> None:
        """Count a finished call by its root span. On the hot path: costs a few microseconds."""
        key = (span.operation, span.counted_model, span.target, span.status, span.error_code)
        series = self._series.get(key) or self._new_series(key)
        series.duration_s.add(_DURATION_S, span.duration_ns * 1e-9)
        if span.first_token_ns is not None:
            series.first_token_s.add(_FIRST_TOKEN_S, span.first_token_ns * 1e-9)
        if span.input_tokens is not None:
            series.input_tokens.add(_TOKENS, span.input_tokens)
        if span.output_tokens is not None:
            series.output_tokens.add(_TOKENS, span.output_tokens)
        if span.cost_nanousd is None:
            series.unknown_costs += 1
        else:
            series.cost_nanousd += span.cost_nanousd
        if (stand_in := span.attributes.get("backstay.degraded")) is not None:
            place = span.counted_model or _OTHER, stand_in
            self._degraded[place] = self._degraded.get(place, 0) + 1

    def add_gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Show a value of this worker, read when it is shown; workers' values are added up."""
        self.add_family(name, help, "gauge", lambda: (({}, read()),))

    def add_counter(
        self, name: str, help: str, read: Callable[[], float], labels: Mapping[str, str] | None = None
    ) -> None:
        """Show a count of this worker that begins at 0 when it starts; ``name`` ends in ``_total``.

        Args:
            labels: Counts of the same name have the same labels, with other values.
        """
        self.add_family(name, help, "counter", lambda: ((labels or {}, read()),))

    def add_family(self, name: str, help: str, kind: Kind, read: Callable[[], Values]) -> None:
        """Show values of this worker whose labels are known only when they are shown, such as one for each target.

        Args:
            kind: Gauges of live workers are added up. Counters begin at 0 when the worker starts and are shown on from
                where its predecessor's were.
            read: Returns the values. All have the same labels, with other values. It is called each second.
        """
        self._families.append(_Family(name, help, kind, read))

    def flush(self) -> None:
        """Write this worker's file, at once and whole, if anything has changed."""
        text = msgspec.msgpack.encode(self._snapshot())
        if text == self._written:
            return
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(text)
        fresh.replace(self._file)
        self._written = text

    async def run(self) -> None:
        """Write the file once a second, until cancelled. A full disk is logged; the counts stay in memory."""
        while True:
            try:
                self.flush()
            except OSError as error:
                _log.warning("metrics not written: %s", error)
            await asyncio.sleep(_FLUSH_S)

    def render(self) -> bytes:
        """Write the metrics of all workers as Prometheus reads them. Other workers' are at most a second old."""
        others = (_read(file) for file in sorted(self._folder.glob("*.metrics")) if file != self._file)
        snapshots = [self._snapshot(), *(other for other in others if other is not None)]
        registry = CollectorRegistry()
        registry.register(_Exposition(snapshots))
        return generate_latest(registry)

    def _snapshot(self) -> _Snapshot:
        return _Snapshot(
            pid=os.getpid(),
            is_worker=self._is_worker,
            series=list(self._series.values()),
            readings=self._read(),
        )

    def _read_degraded(self) -> Values:
        for (model, by), count in self._degraded.items():
            yield {"model": model, "by": by}, count

    def _read(self) -> list[_Reading]:
        """Read all families; several may share a name. Counts go on from where the predecessor's were."""
        found = {
            name: {place: msgspec.structs.replace(reading) for place, reading in known.items()}
            for name, known in self._before.items()
        }
        for family in self._families:
            known = found.setdefault(family.name, {})
            for labels, value in family.read():
                _add(known, family, dict(labels), float(value))  # a truth is a number here, but not in a file
        return [reading for known in found.values() for reading in known.values()]

    def _new_series(self, key: "_Key") -> _Series:
        if len(self._series) >= _MAX_SERIES:
            key = (_OTHER, _OTHER, _OTHER, key[3], None)
            if key in self._series:
                return self._series[key]
        series = self._series[key] = _empty_series(_Labels(*(part or "" for part in key)))
        return series


_Key = tuple[str | None, str | None, str | None, str | None, str | None]


def _add(known: dict[tuple[str, ...], _Reading], family: _Family, labels: dict[str, str], value: float) -> None:
    if len(known) >= _MAX_READINGS and tuple(labels.values()) not in known:
        if family.kind == "gauge":
            return
        labels = dict.fromkeys(labels, _OTHER)
    reading = known.get(tuple(labels.values()))
    if reading is None:
        known[tuple(labels.values())] = _Reading(family.name, family.help, family.kind, value, labels)
    else:
        reading.value += value


def _key(labels: _Labels) -> _Key:
    operation, model, target, status, error = msgspec.structs.astuple(labels)
    return operation or None, model or None, target or None, status, error or None


def _empty_series(labels: _Labels) -> _Series:
    return _Series(
        labels=labels,
        duration_s=_Histogram([0] * (len(_DURATION_S) + 1)),
        first_token_s=_Histogram([0] * (len(_FIRST_TOKEN_S) + 1)),
        input_tokens=_Histogram([0] * (len(_TOKENS) + 1)),
        output_tokens=_Histogram([0] * (len(_TOKENS) + 1)),
    )


def _read(file: Path) -> _Snapshot | None:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=_Snapshot)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _log.warning("metrics of a worker left out: %s: %s", file, error)
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _Exposition(Collector):
    """The sums over the workers' snapshots, as families of metrics."""

    def __init__(self, snapshots: Sequence[_Snapshot]):
        self._snapshots = snapshots
        self._series = [series for snapshot in snapshots for series in snapshot.series]

    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield from self._histograms()
        yield from self._worker_readings()

    def _calls(self) -> Iterator[Metric]:
        calls, costs, unknown = _Sums(), _Sums(), _Sums()
        for series in self._series:
            labels = series.labels
            place = (labels.model, labels.target)
            calls.add((*place, labels.status), sum(series.duration_s.counts))
            costs.add(place, series.cost_nanousd)
            unknown.add(place, series.unknown_costs)
        yield _counter("backstay_calls_total", "Calls, by how they ended.", ("model", "target", "status"), calls)
        yield _counter("backstay_cost_usd_total", "Known cost of calls.", ("model", "target"), costs, NANO_PER_USD)
        yield _counter("backstay_unknown_cost_calls_total", "Calls of unknown cost.", ("model", "target"), unknown)

    def _histograms(self) -> Iterator[Metric]:
        names = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
        durations, first_tokens, tokens = _Histograms(_DURATION_S), _Histograms(_FIRST_TOKEN_S), _Histograms(_TOKENS)
        for series in self._series:
            labels = series.labels
            call = (labels.operation, labels.target.partition("/")[0], labels.model)
            durations.add((*call, labels.error), series.duration_s)
            first_tokens.add(call, series.first_token_s)
            tokens.add((*call, "input"), series.input_tokens)
            tokens.add((*call, "output"), series.output_tokens)
        yield durations.family("gen_ai_client_operation_duration_seconds", "Duration of calls.", (*names, "error_type"))
        yield first_tokens.family("gen_ai_server_time_to_first_token_seconds", "Time to the first token.", names)
        yield tokens.family("gen_ai_client_token_usage", "Tokens of a call.", (*names, "gen_ai_token_type"))

    def _worker_readings(self) -> Iterator[Metric]:
        workers = sum(each.is_worker and _is_alive(each.pid) for each in self._snapshots)
        yield GaugeMetricFamily("backstay_workers", "Workers that run.", value=workers)
        families: dict[str, tuple[_Reading, _Sums]] = {}
        for reading in self._shown():
            _, sums = families.setdefault(reading.name, (reading, _Sums()))
            sums.add(tuple(reading.labels.values()), reading.value)
        for reading, sums in families.values():
            kind = CounterMetricFamily if reading.kind == "counter" else GaugeMetricFamily
            family = kind(reading.name, reading.help, labels=tuple(reading.labels))
            for labels, value in sums.items():
                family.add_metric(labels, value)
            yield family

    def _shown(self) -> Iterator[_Reading]:
        """Iterate over the values that are added up: a dead worker's counts were counted, its gauges are over."""
        for snapshot in self._snapshots:
            is_alive = _is_alive(snapshot.pid)
            for reading in snapshot.readings:
                if reading.kind == "counter" or is_alive:
                    yield reading


class _Sums(dict[tuple[str, ...], float]):
    def add(self, labels: tuple[str, ...], value: float) -> None:
        self[labels] = self.get(labels, 0) + value


class _Histograms(dict[tuple[str, ...], _Histogram]):
    def __init__(self, bounds: Sequence[float]):
        super().__init__()
        self._bounds = bounds

    def add(self, labels: tuple[str, ...], histogram: _Histogram) -> None:
        known = self.setdefault(labels, _Histogram([0] * len(histogram.counts)))
        known.counts = [mine + more for mine, more in zip(known.counts, histogram.counts, strict=True)]
        known.total += histogram.total

    def family(self, name: str, help: str, label_names: Sequence[str]) -> Metric:
        family = HistogramMetricFamily(name, help, labels=label_names)
        for labels, histogram in sorted(self.items()):
            if any(histogram.counts):
                family.add_metric(labels, list(self._cumulative(histogram.counts)), histogram.total)
        return family

    def _cumulative(self, counts: Iterable[int]) -> Iterator[tuple[str, float]]:
        running = 0
        for bound, count in zip((*(f"{bound:g}" for bound in self._bounds), "+Inf"), counts, strict=True):
            running += count
            yield bound, running


def _counter(name: str, help: str, label_names: Sequence[str], sums: _Sums, divisor: int = 1) -> Metric:
    family = CounterMetricFamily(name, help, labels=label_names)
    for labels, value in sorted(sums.items()):
        family.add_metric(labels, value / divisor)
    return family
