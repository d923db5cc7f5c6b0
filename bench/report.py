"""Owns what people see of a run, the table, and what is kept of it, the JSON lines."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.measured import MAIN_CONCURRENCY, Measured, last_ms
from bench.targets import Check


def table(measured: Measured, checks: Sequence[Check]) -> str:
    """Write the whole run as text."""
    return "\n".join([*_speed_lines(measured), "", *_other_lines(measured), "", *_check_lines(checks)])


def _speed_lines(measured: Measured) -> Iterator[str]:
    levels = list(next(iter(measured.loads.values())))
    yield (
        f"{'requests/s':<22}"
        + "".join(f"{f'c={level}':>9}" for level in levels)
        + (f"{'CPU µs':>9}{'p50':>10}{'p99 ms':>9}{'400 KB':>10}{'1st chunk':>11}")
    )
    for name in measured.loads:
        line = f"  {name:<20}" + "".join(f"{_per_s(measured, name, level):>9}" for level in levels)
        line += f"{_cpu(measured, name):>9}"
        line += f"{last_ms(measured.short[name], 50):>10.2f}{last_ms(measured.short[name], 99):>9.2f}"
        if name in measured.long:
            line += f"{last_ms(measured.long[name], 50):>10.2f}{measured.first_chunk_ms(name):>11.2f}"
        yield line
    yield f"  CPU µs: processor time of the one worker for each request, at c={MAIN_CONCURRENCY}."
    yield "  Latencies are of one connection, at the socket, in milliseconds; 400 KB and first chunk are medians."


def _per_s(measured: Measured, name: str, level: int) -> str:
    return f"{measured.per_s(name, level):,.0f}" if level in measured.loads[name] else ""


def _cpu(measured: Measured, name: str) -> str:
    cpu_us = measured.cpu_us(name, MAIN_CONCURRENCY)
    return f"{cpu_us:,.0f}" if cpu_us else ""


def _other_lines(measured: Measured) -> Iterator[str]:
    ratios = (f"{measured.throughput_ratio(level):.2f} (c={level})" for level in next(iter(measured.loads.values())))
    yield f"{'throughput over the pass-through':<44}{', '.join(ratios)}"
    yield f"{'cold start, with an empty data folder':<44}{measured.starts.cold_s:.1f} s"
    yield f"{'the simulator itself, 32 connections':<44}{measured.simulator_per_s:,.0f} requests/s"


def _check_lines(checks: Sequence[Check]) -> Iterator[str]:
    yield f"{'target':<52}{'figure':>12}{'limit':>14}"
    for check in checks:
        figure, limit = (f"{value:,.4g} {check.unit}".rstrip() for value in (check.value, check.limit))
        bound = "≥" if check.at_least else "≤"
        yield f"  {check.name:<50}{figure:>12}{f'{bound} {limit}':>14}   {'pass' if check.passed else 'FAIL'}"


def keep(measured: Measured, checks: Sequence[Check], machine: Mapping[str, str], folder: Path) -> Path:
    """Append the run to the day's file, one JSON object a figure, and give the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl"
    run = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **machine}
    with file.open("ab") as lines:
        for figure in (*_figures(measured), *_check_figures(checks)):
            lines.write(msgspec.json.encode({**run, **figure}) + b"\n")
    return file


def _figures(measured: Measured) -> Iterator[dict[str, Any]]:
    for name, levels in measured.loads.items():
        for level, loads in levels.items():
            yield {
                "figure": "load",
                "stack": name,
                "connections": level,
                "requests_per_s": round(measured.per_s(name, level), 1),
                "cpu_us": round(measured.cpu_us(name, level), 1),
                "rounds": [
                    {"requests_per_s": round(load.per_s, 1), "p50_us": load.p50_us, "p99_us": load.p99_us}
                    for load in loads
                ],
            }
    for kind, all_timings in (("short", measured.short), ("long", measured.long), ("stream", measured.streamed)):
        for name, timings in all_timings.items():
            yield {
                "figure": f"latency {kind}",
                "stack": name,
                "calls": len(timings),
                "p50_ms": round(last_ms(timings, 50), 4),
                "p99_ms": round(last_ms(timings, 99), 4),
            }
    yield {"figure": "cold start", "value": measured.starts.cold_s, "unit": "s"}
    yield {"figure": "simulator", "value": round(measured.simulator_per_s, 1), "unit": "requests/s"}


def _check_figures(checks: Sequence[Check]) -> Iterator[dict[str, Any]]:
    for check in checks:
        yield {"figure": "target", "passed": check.passed, **msgspec.to_builtins(check)}
