"""The baselines pass on what the upstream says, and the tools measure it: real processes on real sockets."""

import os
import shutil
import time
from pathlib import Path

import pytest
from bench.load import apply_load
from bench.machine import BenchError, Cores
from bench.payloads import chat_answer, stream_answer
from bench.probe import Probe, interleave
from bench.processes import alive, freeze, resident_mib, running
from bench.stacks import AIOHTTP, CHAT_PATH, DIRECT, HTTPX, Kind, Stack, passthrough
from bench.upstream import STREAM_PREFIX, nginx

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and not all(map(shutil.which, ("nginx", "wrk", "taskset", "setpriv"))),
    reason="needs nginx and wrk, as the benchmark",
)


@pytest.fixture
def cores() -> Cores:
    available = sorted(os.sched_getaffinity(0))
    return Cores(gateway=available[0], rest=(available[-1],))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(("name", "app"), [(AIOHTTP, "aiohttp_passthrough"), (HTTPX, "starlette_httpx")])
def test_baseline_passes_on(name: str, app: str, cores: Cores, tmp_path: Path) -> None:
    """A baseline answers short, long and streamed calls with the upstream's own bytes."""
    with nginx(tmp_path, cores.rest) as port, passthrough(name, app, port, cores, tmp_path) as stack:
        kinds: dict[Kind, bytes] = {"short": chat_answer(), "long": chat_answer(), "stream": stream_answer()}
        for kind, answer in kinds.items():
            with Probe(stack, kind) as probe:
                timing = probe.call()
                assert 0 < timing.first_ns <= timing.last_ns
                assert probe.answer == answer


def test_frozen_stack_is_measured_in_its_turn(cores: Cores, tmp_path: Path) -> None:
    """A stack that is frozen between its turns answers every call of them, and is frozen again afterwards."""
    with nginx(tmp_path, cores.rest) as port:
        direct = Stack(name=DIRECT, port=port, stream_path=STREAM_PREFIX + CHAT_PATH)
        with passthrough(AIOHTTP, "aiohttp_passthrough", port, cores, tmp_path) as stack:
            assert stack.pid is not None
            freeze(stack.pid)
            timings = interleave([direct, stack], "short", 60)
            assert {name: len(each) for name, each in timings.items()} == {DIRECT: 60, AIOHTTP: 60}
            until = time.monotonic() + 5
            while state(stack.pid) != "T" and time.monotonic() < until:
                time.sleep(0.01)
            assert state(stack.pid) == "T"


def test_load_counts_answers(cores: Cores, tmp_path: Path) -> None:
    """Load counts requests and their latency, and fails where nobody answers."""
    with nginx(tmp_path, cores.rest) as port:
        direct = Stack(name=DIRECT, port=port)
        load = apply_load(direct, connections=2, seconds=1, cores=cores.rest, folder=tmp_path)
        assert load.per_s > 100
        assert 0 < load.p50_us <= load.p99_us
    with pytest.raises(BenchError, match="wrk did not run"):
        apply_load(direct, connections=2, seconds=1, cores=cores.rest, folder=tmp_path)


def test_processes_end_with_their_block(cores: Cores, tmp_path: Path) -> None:
    """A process lives as long as its block, even if it is frozen when that ends."""
    with running(["sleep", "60"], cores=cores.rest, log=tmp_path / "log") as pid:
        assert alive(pid)
        assert resident_mib(pid) > 0
        freeze(pid)
    assert not alive(pid)
