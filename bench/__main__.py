"""Owns ``python -m bench``: which measurement is taken, with what, and its exit status.

Without a word it measures the gateway: one run, its table, its record.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import msgspec

from bench import (
    abstention,
    budgets,
    console,
    ingest,
    ledger,
    overload,
    plan,
    relevance,
    search_speed,
    soak,
    verification,
)
from bench.machine import BenchError, allow_open_files, choose_cores, describe, require_tools
from bench.plot import draw
from bench.processes import prioritise
from bench.report import keep, table
from bench.run import measure
from bench.soak_served import play_served
from bench.targets import check

_RESULTS = Path(__file__).parent / "results"
_STATUS = "The exit status is 0 if every target holds, 1 if one does not, 2 if it could not be measured."


def main(words: Sequence[str] | None = None) -> int:
    """Take one measurement: 0 if every target holds, 1 if one fails, 2 if it could not be run."""
    signal.signal(signal.SIGTERM, _interrupt)
    asked = read_words(words)
    try:
        match asked.what:
            case "console":
                return console.main(calls=asked.calls, kept=asked.data)
            case "ledger":
                return ledger.main(entries=asked.entries, kept=asked.data)
            case "overload":
                return overload.main()
            case "relevance":
                return relevance.main(data=asked.data, is_json=asked.json, cache=asked.cache)
            case "abstention":
                return abstention.main(data=asked.data, train=asked.train, is_json=asked.json, cache=asked.cache)
            case "verification":
                return verification.main(data=asked.data, train=asked.train, is_json=asked.json, cache=asked.cache)
            case "budgets":
                return budgets.main()
            case "ingest":
                return ingest.main(pages=asked.pages // (5 if asked.quick else 1), share=0.2 if asked.quick else 1.0)
            case "search":
                return search_speed.main(chunks=asked.chunks, kept=asked.data)
            case "soak":
                chosen = soak.Plan(rounds=asked.rounds, seed=asked.seed, seconds=asked.seconds)
                if asked.served:
                    served = msgspec.structs.replace(chosen, processes=2, callers=96)
                    return soak.main(served, play_served, is_json=asked.json)
                return soak.main(chosen, soak.play, is_json=asked.json)
            case _:
                return _gateway(plan.quick(peers=asked.peers) if asked.quick else plan.whole(peers=asked.peers))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2


def read_words(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. What it does not know ends the program with status 2, before anything is run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Backstay.", epilog=_STATUS)
    whats = parser.add_subparsers(
        dest="what",
        metavar="{gateway,console,ledger,overload,budgets,search,ingest,soak,verification,abstention,relevance}",
    )

    def add(name: str, does: str) -> argparse.ArgumentParser:
        return whats.add_parser(name, help=does, description=f"Measure {does}.", epilog=_STATUS)

    for each in (parser, add("gateway", "throughput, latency, memory and start-up; without a word, this")):
        # A default of the second would undo what was said before its name.
        hidden = argparse.SUPPRESS
        quick, peers = (bool(os.environ.get(name)) if each is parser else hidden for name in ("QUICK", "PEERS"))
        each.add_argument("--quick", action="store_true", default=quick, help="one minute instead of five (QUICK=1)")
        each.add_argument("--peers", action="store_true", default=peers, help="LiteLLM's proxy beside it (PEERS=1)")
    pages = add("console", "how soon the console's pages answer over millions of calls")
    pages.add_argument(
        "--calls", type=number, default=os.environ.get("CALLS", console.CALLS), help="how many (CALLS; %(default)s)"
    )
    pages.add_argument(
        "--data", type=Path, default=os.environ.get("CONSOLE_DATA"),
        help="a folder to fill once and to keep (CONSOLE_DATA; without it, a temporary one)",
    )  # fmt: skip
    reports = add("ledger", "how soon reports answer over ten million ledger entries, and what an export holds")
    reports.add_argument(
        "--entries",
        type=number,
        default=os.environ.get("ENTRIES", ledger.ENTRIES),
        help="how many (ENTRIES; %(default)s)",
    )
    reports.add_argument(
        "--data", type=Path, default=os.environ.get("CONSOLE_DATA"), help="as for console (CONSOLE_DATA)"
    )
    add("overload", "a worker pressed with more long requests than fit")
    add("budgets", "what a budget adds to a call")
    searches = add("search", "how soon a collection is searched, and what its index of vectors misses")
    searches.add_argument("--chunks", type=number, default=search_speed.CHUNKS, help="how many it has (%(default)s)")
    searches.add_argument("--data", type=Path, help="a folder to fill once and to keep; without it, a temporary one")
    ingests = add("ingest", "how quickly files are taken in, beside the embedding model alone, and in how much memory")
    ingests.add_argument("--pages", type=number, default=1000, help="of PDF files (%(default)s)")
    ingests.add_argument("--quick", action="store_true", default=argparse.SUPPRESS, help="a fifth of everything")
    _add_retrieval(add)
    rounds = add("soak", "whether budgets hold while workers that spend them are killed")
    rounds.add_argument("--rounds", type=number, default=soak.Plan().rounds, help="budgets to spend (%(default)s)")
    rounds.add_argument("--seed", type=int, default=soak.Plan().seed, help="of all that is random (%(default)s)")
    rounds.add_argument(
        "--seconds", type=number, default=soak.Plan().seconds, help="begin none after these (%(default)g)"
    )
    rounds.add_argument("--served", action="store_true", help="through a real server with two workers, over HTTP")
    rounds.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args(words)


def _data() -> str:
    return os.environ.get("BACKSTAY_DATA") or str(verification.DATA)


def _add_retrieval(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    learnt = {
        "verification": "how well sentences of answers are held against passages",
        "abstention": "whether wrong answers keep below what is wanted",
        "relevance": "how far the relevance that is told is off",
    }
    for name, does in learnt.items():
        each = add(name, does)
        each.add_argument("--data", type=Path, default=_data(), help="the labelled sets (BACKSTAY_DATA; %(default)s)")
        each.add_argument("--cache", type=Path, help="a folder in which embeddings are kept for the next time")
        each.add_argument("--json", action="store_true", help="print one JSON document")
        if name != "relevance":
            each.add_argument("--train", action="store_true", help="learn anew, and keep what is learnt in the package")


def number(text: str) -> int:
    found = int(text)
    if found < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return found


def _gateway(chosen: plan.Plan) -> int:
    began = time.monotonic()
    require_tools()
    allow_open_files()
    cores = choose_cores()
    machine = describe()
    prioritise(os.getpid())
    os.sched_setaffinity(0, cores.rest)
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as folder:
        measured = measure(chosen, cores, Path(folder))
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
