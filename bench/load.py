"""Owns load: ``wrk`` with many connections against one stack, and what it counts."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.machine import BenchError
from bench.processes import cpu_s
from bench.stacks import Stack

_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
{headers}
done = function(summary, latency, requests)
  local e = summary.errors
  io.stderr:write(string.format(
    '{{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"broken":%d,"refused":%d}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of ``wrk`` counted. ``broken``: connections that failed; ``refused``: answers that are errors."""

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    broken: int
    refused: int
    cpu_us: float = 0.0
    """Processor time of the stack's worker for each request: what busy neighbours disturb least."""

    @property
    def per_s(self) -> float:
        return self.requests / self.duration_us * 1e6


def apply_load(stack: Stack, *, connections: int, seconds: float, cores: Iterable[int], folder: Path) -> Load:
    """Send short chats over so many connections for so many seconds (whole ones: ``wrk`` counts no others).

    Raises:
        BenchError: Something was not answered as it must.
    """
    script = folder / "wrk.lua"
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in stack.headers().items())
    script.write_text(_SCRIPT.format(body=stack.body("short").decode(), headers=headers))
    command = [
        "taskset", "-c", ",".join(map(str, cores)), "wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s",
        "--timeout", "30s", "-s", str(script), f"http://127.0.0.1:{stack.port}{stack.path('short')}",
    ]  # fmt: skip
    before = _cpu_us(stack)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    try:
        load = msgspec.json.decode(done.stderr, type=Load)
    except msgspec.DecodeError as error:
        raise BenchError(f"wrk did not run against {stack.name}: {done.stderr or done.stdout}") from error
    if load.requests == 0 or load.broken or load.refused:
        raise BenchError(f"{stack.name}, {connections} connections: not every call was answered: {load}")
    return msgspec.structs.replace(load, cpu_us=(_cpu_us(stack) - before) / load.requests)


def _cpu_us(stack: Stack) -> float:
    return 0.0 if stack.worker is None else cpu_s(stack.worker) * 1e6
