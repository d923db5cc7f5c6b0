"""Owns real servers for tests: `backstay serve` as a process of its own, on a free port, in a folder of the test."""

import asyncio
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from backstay.store import EmbeddedPostgres, migrate

BACKSTAY = str(Path(sys.executable).with_name("backstay"))
LONGEST_S = 60

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that runs."""

    url: str
    data_dir: Path
    process: subprocess.Popen[str]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return environment(BACKSTAY_URL=self.url, BACKSTAY_DATA_DIR=str(self.data_dir))

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command against it."""
        return run(*arguments, env=self.environment, cwd=self.folder, **more)

    def ask(self, *arguments: str) -> Any:
        """Run a command that must succeed, and return its JSON document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(LONGEST_S)


def environment(**named: str) -> dict[str, str]:
    """This process's environment, without what would steer Backstay, and with what is named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTAY_")}
    return {**kept, "NO_COLOR": "1", **named}


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run ``backstay`` to its end."""
    more.setdefault("env", environment())
    return subprocess.run([BACKSTAY, *arguments], capture_output=True, text=True, timeout=LONGEST_S, **more)


def eventually(condition: Callable[[], T], limit_s: float = LONGEST_S) -> T:
    """Wait until a condition holds, and return what it returned."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not happen within {limit_s:.0f} s")


@cache
def _postgres_made_once() -> Path:
    """The folder of a Postgres that was made, migrated and stopped, and that does not wait for the disk.

    Each process makes one and copies it from then on: making one costs more than all else that a server does to start.
    """
    folder = Path(tempfile.mkdtemp(prefix="backstay-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    async def make() -> None:
        server = EmbeddedPostgres(folder)
        url = await server.start()
        try:
            await migrate(url)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute("alter system set fsync = off")
        finally:
            await server.stop()

    with ThreadPoolExecutor(1) as aside:  # the caller may have a loop of its own
        aside.submit(asyncio.run, make()).result()
    return folder / "pg"


@contextmanager
def serving(folder: Path, *options: str, postgres: str = "copied", **named: str) -> Generator[Server]:
    """Start a server and stop it at the end, whatever happened. It has no local models and runs no jobs unless told;
    one with local models runs jobs too, as what is ingested is one.

    Its Postgres is a copy of one that was migrated before, unless ``postgres`` is ``new``.
    """
    data_dir = folder / "data"
    if not data_dir.exists() and postgres == "copied":
        data_dir.mkdir(mode=0o700)
        # The files may belong to the account that Postgres runs as, and stay with it.
        subprocess.run(["cp", "-a", str(_postgres_made_once()), str(data_dir / "pg")], check=True)
    jobs = "2" if named.get("BACKSTAY_LOCAL_MODELS") == "true" else "0"
    spared = {"BACKSTAY_LOCAL_MODELS": "false", "BACKSTAY_JOBS_CONCURRENCY": jobs}
    env = environment(BACKSTAY_DATA_DIR=str(data_dir), **{**spared, **named})
    with open(folder / "server.log", "a+") as log:
        process = subprocess.Popen(
            [BACKSTAY, "serve", "--port", "0", "--json", *options],
            stdout=subprocess.PIPE, stderr=log, text=True, env=env, cwd=folder,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert '"url"' in line, line + (folder / "server.log").read_text()
            yield Server(url=json.loads(line)["url"], data_dir=data_dir, process=process, folder=folder)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(LONGEST_S)
            assert process.stdout is not None
            process.stdout.close()
