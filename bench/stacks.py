"""Owns what is compared: the upstream itself, the pass-throughs, Backstay and its peers, each as one stack."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from bench.machine import Cores
from bench.payloads import LONG_BYTES, MODEL, STREAM_MODEL, chat_request
from bench.processes import free_port, freeze, running, thaw, wait_for_port
from bench.upstream import STREAM_PREFIX

CHAT_PATH = "/v1/chat/completions"

DIRECT = "nginx itself"
AIOHTTP = "uvicorn + aiohttp"
HTTPX = "starlette + httpx"
BACKSTAY = "backstay"
LITELLM = "litellm proxy"

Kind = Literal["short", "long", "stream"]
"""A call with a body of 300 bytes, one with 400 KB, and one whose answer is streamed."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Something that answers chats.

    ``pid`` is its first process, ``worker`` the one that answers; ``None`` for what is never frozen or measured.
    """

    name: str
    port: int
    pid: int | None = None
    worker: int | None = None
    key: str = "sk-bench"
    stream_path: str = CHAT_PATH
    slow: bool = False
    """Whether it is spared what would take it too long: more than 32 connections, long bodies, streams."""

    def path(self, kind: Kind) -> str:
        return self.stream_path if kind == "stream" else CHAT_PATH

    def headers(self) -> Mapping[str, str]:
        return {"content-type": "application/json", "authorization": f"Bearer {self.key}"}

    def body(self, kind: Kind) -> bytes:
        if kind == "stream":
            return chat_request(STREAM_MODEL, stream=True)
        return chat_request(MODEL, LONG_BYTES) if kind == "long" else chat_request(MODEL)


@contextmanager
def turn(stack: Stack) -> Generator[None]:
    """Let a stack run, and freeze it again: what it does in the background is done in its own time, not in another's.

    All stacks share one core, and Backstay's shipping and Postgres share those of the load.
    """
    if stack.pid is not None:
        thaw(stack.pid)
    try:
        yield
    finally:
        if stack.pid is not None:
            freeze(stack.pid)


@contextmanager
def passthrough(name: str, app: str, upstream_port: int, cores: Cores, folder: Path) -> Generator[Stack]:
    """Run one of the bare pass-throughs with uvicorn."""
    port, log = free_port(), folder / f"{app}.log"
    command = [
        sys.executable, "-m", "uvicorn", f"bench.baselines.{app}:app", "--port", str(port), "--loop", "uvloop",
        "--http", "httptools", "--no-access-log", "--log-level", "warning", "--backlog", "4096", "--lifespan", "off",
        "--no-server-header", "--no-date-header", "--no-proxy-headers",
    ]  # fmt: skip
    environment = {
        "BENCH_UPSTREAM": f"http://127.0.0.1:{upstream_port}",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])),
    }
    with running(command, cores=[cores.gateway], log=log, environment=environment) as pid:
        wait_for_port(port, pid, within_s=20, log=log)
        yield Stack(name=name, port=port, pid=pid, worker=pid, stream_path=STREAM_PREFIX + CHAT_PATH)
