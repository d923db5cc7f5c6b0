"""Owns ``python -m bench``: one run, its table, its record. ``QUICK=1``: a short one; ``PEERS=1``: LiteLLM, too.

``python -m bench console`` measures the console's pages instead, ``python -m bench ledger`` times reports over ten
million ledger entries and exports a month of them, ``python -m bench overload`` presses a worker with more than fits,
``python -m bench budgets`` measures what a budget adds to a call.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from bench import budgets, console, ledger, overload, plan
from bench.machine import BenchError, allow_open_files, choose_cores, describe, require_tools
from bench.plot import draw
from bench.processes import prioritise
from bench.report import keep, table
from bench.run import measure
from bench.targets import check

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the benchmark: 0 if every target holds, 1 if one fails, 2 if it could not be run."""
    signal.signal(signal.SIGTERM, _interrupt)
    if sys.argv[1:] == ["console"]:
        return console.main()
    if sys.argv[1:] == ["ledger"]:
        return ledger.main()
    if sys.argv[1:] == ["overload"]:
        return overload.main()
    if sys.argv[1:] == ["budgets"]:
        return budgets.main()
    peers = bool(os.environ.get("PEERS"))
    chosen = plan.quick(peers=peers) if os.environ.get("QUICK") else plan.whole(peers=peers)
    began = time.monotonic()
    try:
        require_tools()
        allow_open_files()
        cores = choose_cores()
        machine = describe()
        prioritise(os.getpid())
        os.sched_setaffinity(0, cores.rest)
        with tempfile.TemporaryDirectory(prefix="backstay-bench-") as folder:
            measured = measure(chosen, cores, Path(folder))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    checks = check(measured)
    print(f"{machine['processor']}, {machine['cores']} cores; commit {machine['commit']}")
    print(f"gateway on core {cores.gateway}; nginx, wrk, Postgres and shipping on {cores.rest}\n")
    print(table(measured, checks))
    kept = keep(measured, checks, machine, _RESULTS)
    draw(measured, kept.with_suffix(".svg"))
    print(f"\n{kept} and {kept.with_suffix('.svg').name}, after {time.monotonic() - began:.0f} s")
    return 0 if all(each.passed for each in checks) else 1


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
