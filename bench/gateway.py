"""Owns the gateway under test: its policy, its start, its key; its worker on the measured core, all else off it."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import msgspec

from bench.command import backstay
from bench.machine import BenchError, Cores
from bench.payloads import MODEL, PACED_MODEL, STREAM_MODEL, TARGET_MODEL
from bench.processes import alive, find_child, free_port, pin, prioritise, resident_mib, running, tail
from bench.stacks import BACKSTAY, Stack
from bench.upstream import STREAM_PREFIX

_READY_S = 60
_SETTLE_S = 3
_REST_YIELDS = 10
"""Niceness that all but the worker get: they share a core with what measures, and must not hold it up."""

_POLICY = """
[providers.nginx]
dialect = "openai"
base_url = "http://127.0.0.1:{nginx}/v1"
api_key = "env:BENCH_KEY"
price_as = "openai/{target}"

[providers.nginx-stream]
dialect = "openai"
base_url = "http://127.0.0.1:{nginx}{stream_prefix}/v1"
api_key = "env:BENCH_KEY"
price_as = "openai/{target}"

[providers.paced]
dialect = "openai"
base_url = "http://127.0.0.1:{paced}/v1"
api_key = "env:BENCH_KEY"
price_as = "openai/{target}"

[models.{model}]
targets = ["nginx/{target}"]

[models.{stream}]
targets = ["nginx-stream/{target}"]

[models.{paced_model}]
targets = ["paced/{paced_model}"]
"""


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A running Backstay. ``started_s``: from the command to the first ``/readyz`` that says yes."""

    stack: Stack
    worker: int
    started_s: float


class GatewayFolder:
    """A folder with a policy and a data folder in which Backstay can be started more than once."""

    def __init__(self, folder: Path, *, nginx_port: int, paced_port: int):
        self._data, self._config, self._log = folder / "data", folder / "backstay.toml", folder / "backstay.log"
        self._config.write_text(
            _POLICY.format(
                nginx=nginx_port,
                paced=paced_port,
                stream_prefix=STREAM_PREFIX,
                target=TARGET_MODEL,
                model=MODEL,
                stream=STREAM_MODEL,
                paced_model=PACED_MODEL,
            )
        )

    def forget(self) -> None:
        """Remove all state, so that the next start is a first one."""
        shutil.rmtree(self._data, ignore_errors=True)

    @contextmanager
    def serve(self, cores: Cores) -> Generator[Gateway]:
        """Run Backstay: its worker on the measured core; Postgres, shipping and all else on the others."""
        port = free_port()
        command = [*backstay(), "serve", "--port", str(port), "--workers", "1", "--data-dir", str(self._data)]
        began = time.monotonic()
        with running(
            [*command, "--config", str(self._config)], cores=cores.rest, log=self._log, environment=_environment()
        ) as pid:
            self._wait_until_ready(port, pid)
            started_s = time.monotonic() - began
            worker = find_child(pid, "backstay.worker")
            prioritise(pid, yielding=_REST_YIELDS, but=worker)
            prioritise(worker)
            pin(worker, cores.gateway)
            stack = Stack(name=BACKSTAY, port=port, pid=pid, worker=worker, key=self._make_key(port))
            yield Gateway(stack=stack, worker=worker, started_s=started_s)

    def _wait_until_ready(self, port: int, pid: int) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and alive(pid):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    return
            except (URLError, ConnectionError, TimeoutError):
                time.sleep(0.02)
        raise BenchError(f"Backstay is not ready after {_READY_S} s. The end of its log:\n{tail(self._log)}")

    def _make_key(self, port: int) -> str:
        command = [*backstay(), "keys", "create", "--name", "bench", "--json", "--data-dir", str(self._data)]
        done = subprocess.run(
            [*command, "--url", f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchError(f"No key could be made: {done.stderr}")
        return str(json.loads(done.stdout)["key"])


def idle_mib(gateway: Gateway) -> float:
    """Read the worker's memory after it has had nothing to do for a moment."""
    time.sleep(_SETTLE_S)
    return resident_mib(gateway.worker)


def _environment() -> Mapping[str, str]:
    kept = [name for name in os.environ if name.startswith("BACKSTAY_")]
    if kept:
        raise BenchError(f"Unset {', '.join(kept)}: the benchmark measures the defaults.")
    return {"BENCH_KEY": "sk-bench-upstream", "BACKSTAY_LOCAL_MODELS": "false"}
