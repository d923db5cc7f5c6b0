"""Owns ``python -m bench ledger``: how soon reports answer over ten million entries, and what an export holds."""

import asyncio
import json
import os
import statistics
import time
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from bench.console import bearer, data_folder, serving, sign_in, time_paths
from bench.ledger_books import fill_ledger
from bench.machine import BenchError
from bench.measured import percentile
from bench.overload import peak_mib
from bench.processes import find_child, prioritise

REPORT_MS = 300.0
EXPORT_MIB = 64.0
"""What an export may add to the worker's memory, however long it is."""
ENTRIES = 10_000_000
_TIMES = 5
_RANGES = ("1h", "24h", "7d", "30d")
PAGES = (
    *(f"/?range={name}" for name in _RANGES),
    *(f"/costs?range={name}" for name in _RANGES),
    *(f"/costs?by=user&range={name}" for name in _RANGES),
    *(f"/costs?by=user&then=model&range={name}" for name in ("24h", "7d", "30d")),
    *(f"/costs?by={name}&range=30d" for name in ("feature", "target", "key", "tag")),
    *(f"/costs?by=user&then={name}&range=30d" for name in ("feature", "target", "key")),
    *(f"/costs?by={name}&then=model&range=30d" for name in ("feature", "key", "tag")),
    "/costs?by=feature&then=user&range=30d",
    "/costs?by=target&then=key&range=30d",
    *(f"/costs?by=tag&then=user&range={name}" for name in ("24h", "7d", "30d")),
    "/costs?by=user&then=model&range=30d&format=csv",
    "/budgets",
    "/budgets/bud_month",
    "/budgets/bud_feature",
    "/budgets/bud_each",
    "/alerts",
    "/keys",
    "/models",
)
_DIMENSIONS = ("user", "feature", "model", "target", "key", "tag", "day", "hour")
_PAIRS = (
    "user,model",
    "user,feature",
    "user,key",
    "user,day",
    "tag,user",
    "feature,model",
    "key,model",
    "tag,model",
    "tag,day",
)
REPORTS = (
    *(f"/v1/costs?by={name}&since=30d" for name in (*_DIMENSIONS, *_PAIRS)),
    *(f"/v1/costs?by={name}&since=90d" for name in ("user", "model", "tag", *_PAIRS)),
    "/v1/costs?by=user,feature,model&since=30d",
    "/v1/costs/waste?since=30d",
    "/v1/costs/waste?since=90d",
)
_FORMATS = ("csv", "focus", "parquet")
_READ_BYTES = 1024 * 1024


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export took. ``grown_mib``: how much more memory the worker ever had than before it."""

    seconds: float
    size_mib: float
    grown_mib: float


def main(*, entries: int, kept: Path | None) -> int:
    """Fill the ledger, measure, and print a table: 0 if every target holds, 1 if one does not.

    Args:
        entries: How many the ledger is filled with.
        kept: A data folder to keep and to use again; ``None``: a temporary one.

    Raises:
        BenchError: It could not be measured.
    """
    prioritise(os.getpid())
    with data_folder(kept) as data_dir:
        asyncio.run(fill_ledger(data_dir, entries))
        with serving(data_dir) as (url, pid):
            token = bearer(url, data_dir)
            invoice = f"/v1/costs/invoice?month={datetime.now(UTC) - timedelta(days=31):%Y-%m}"
            times = {
                **time_paths(url, PAGES, sign_in(url, data_dir), often=_TIMES),
                **time_paths(url, (*REPORTS, invoice), token, often=_TIMES),
            }
            worker = find_child(pid, "backstay.worker")
            proof_s, proof_mib = _prove(url, token, worker)
            exports = {name: _export(url, name, token, worker) for name in _FORMATS}
    print("\n".join(_lines(times, exports)))
    print(f"\nproof of all days: {proof_s:.0f} s, memory + {proof_mib:.1f} MiB (target {EXPORT_MIB:.0f})")
    is_quick = all(statistics.median(each_ms) <= REPORT_MS for each_ms in times.values())
    return (
        0
        if is_quick and proof_mib <= EXPORT_MIB and all(each.grown_mib <= EXPORT_MIB for each in exports.values())
        else 1
    )


def _prove(url: str, headers: Mapping[str, str], worker: int) -> tuple[float, float]:
    """Prove the books a day at a time, as ``backstay audit`` does: give seconds, and by how much the worker grew.

    Raises ``BenchError`` if a sum is not what its entries add up to. Traces are not compared: there are none.
    """

    def ask(path: str) -> dict[str, Any]:
        asked = urllib.request.Request(f"{url}{path}", headers=dict(headers))
        with urllib.request.urlopen(asked, timeout=3600) as answer:
            return json.load(answer)

    before_mib, began = peak_mib(worker), time.perf_counter()
    for day in ask("/v1/books/days")["days"]:
        if ask(f"/v1/books/days/{day}")["differing_rollups"]:
            raise BenchError(f"Sums of {day} are not what the ledger adds up to.")
    return time.perf_counter() - began, peak_mib(worker) - before_mib


def _export(url: str, name: str, headers: Mapping[str, str], worker: int) -> Exported:
    """Read a month's export to its end, and see what it added to the worker's memory beside a day's.

    A day's is read first, as the first of a format loads its library: 160 MiB of Parquet's.
    """
    _read_export(url, name, "1d", headers)
    before_mib, began = peak_mib(worker), time.perf_counter()
    size = _read_export(url, name, "30d", headers)
    return Exported(seconds=time.perf_counter() - began, size_mib=size / 2**20, grown_mib=peak_mib(worker) - before_mib)


def _read_export(url: str, name: str, since: str, headers: Mapping[str, str]) -> int:
    """Read an export to its end, and return its bytes."""
    asked = urllib.request.Request(f"{url}/v1/costs/export?format={name}&since={since}", headers=dict(headers))
    size = 0
    with urllib.request.urlopen(asked, timeout=3600) as answer:
        while block := answer.read(_READ_BYTES):
            size += len(block)
    return size


def _lines(times: Mapping[str, list[float]], exports: Mapping[str, Exported]) -> Iterator[str]:
    yield f"{'first byte, ms':<52}{'p50':>8}{'p95':>8}{'target':>8}"
    for path, each_ms in times.items():
        p50 = statistics.median(each_ms)
        verdict = "" if p50 <= REPORT_MS else "  too slow"
        yield f"  {path:<50}{p50:>8.1f}{percentile(each_ms, 95):>8.1f}{REPORT_MS:>8.0f}{verdict}"
    yield f"\n{'export of 30 days':<36}{'s':>8}{'MiB':>8}{'memory + MiB':>16}{'target':>8}"
    for name, each in exports.items():
        verdict = "" if each.grown_mib <= EXPORT_MIB else "  too much"
        yield (
            f"  {name:<34}{each.seconds:>8.1f}{each.size_mib:>8.0f}{each.grown_mib:>16.1f}{EXPORT_MIB:>8.0f}{verdict}"
        )
