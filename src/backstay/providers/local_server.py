"""Owns the child process of the local models: one loopback HTTP port that answers chats and embeddings.

``python -m backstay.providers.local_server`` is started by ``backstay.providers.local.LocalModels``. It speaks OpenAI's
wire at ``/v1`` and asks for the key in ``BACKSTAY_LOCAL_KEY``; ``/health`` is open. What happens to its models it tells
on stderr, one JSON object a line.
"""

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import msgspec
from aiohttp import web

from backstay.providers.local_service import LocalService
from backstay.providers.local_types import Notice


def main() -> None:
    """Serve until SIGTERM, or until stdin ends where ``--exit-with-stdin`` was given."""
    parser = argparse.ArgumentParser(prog="python -m backstay.providers.local_server", description=__doc__)
    parser.add_argument("--fd", type=int, help="listening socket that was inherited")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 to listen on, without --fd; 0: any")
    parser.add_argument("--threads", type=int, default=default_threads(), help="threads that compute (%(default)s)")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path(tempfile.gettempdir(), f"backstay-local-{os.getpid()}"),
        help="folder to make for the engine's socket, and to remove (%(default)s)",
    )
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when stdin ends: the parent has died")
    options = parser.parse_args()
    key = os.environ.get("BACKSTAY_LOCAL_KEY")
    if not key:
        parser.error("set BACKSTAY_LOCAL_KEY to the key that callers must send")
    listener = _listener(options.fd, options.port)
    options.scratch.mkdir(mode=0o700)
    try:
        asyncio.run(_serve(listener, key, options.scratch, options.threads, options.exit_with_stdin))
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)


def default_threads() -> int:
    """Choose half of the cores that this process may use.

    llama.cpp's threads wait for each other after each layer of each token. Where one of them shares its core with
    other work, all are slowed down: on two busy cores, two threads take ten times as long as one.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores // 2)


async def _serve(listener: socket.socket, key: str, scratch: Path, threads: int, exit_with_stdin: bool) -> None:
    stop = asyncio.Event()
    _stop_on_signal_or_eof(stop, exit_with_stdin)
    service = LocalService(key=key, scratch=scratch, threads=threads, tell=_tell)
    # Without handler_cancellation the model would go on computing for callers that went away.
    runner = web.AppRunner(service.app(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await stop.wait()
    finally:
        await runner.cleanup()
        await service.close()


def _listener(fd: int | None, port: int) -> socket.socket:
    if fd is None:
        return socket.create_server(("127.0.0.1", port))
    return socket.socket(fileno=fd)


def _stop_on_signal_or_eof(stop: asyncio.Event, exit_with_stdin: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)

    def read_stdin() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    if exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), read_stdin)


def _tell(notice: Notice) -> None:
    print(msgspec.json.encode(notice).decode(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
