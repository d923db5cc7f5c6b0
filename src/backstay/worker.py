"""Owns one worker process: ``python -m backstay.worker --fd N --slot K``, started by the supervisor."""

import argparse
import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
import uvloop

from backstay.api.protocol import guarded
from backstay.app import App
from backstay.child_process import follow_supervisor, set_up_logging
from backstay.core.errors import BackstayError
from backstay.core.settings import Settings

_KEEP_ALIVE_S = 75
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LONG_BYTES = 1024 * 1024
_KEPT_BYTES = 32 * 1024 * 1024
_log = logging.getLogger("backstay")


def main() -> int:
    """Serve until SIGTERM, or until the supervisor is gone."""
    gc.disable()  # until all is there that lives as long as the worker
    arguments = _arguments()
    settings = Settings()
    set_up_logging(settings)
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.root.level))
    _give_memory_back()
    try:
        uvloop.run(_serve(settings, socket.socket(fileno=arguments.fd), arguments.slot))
    except BackstayError as error:
        _log.error("%s", error)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="backstay.worker", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket, inherited")
    parser.add_argument("--slot", type=int, required=True, help="this worker's number, from 0")
    return parser.parse_args()


async def _serve(settings: Settings, listener: socket.socket, slot: int) -> None:
    app = App(settings, slot)
    try:
        await app.start()
        _spare_the_collector()
        server = _Server(
            uvicorn.Config(
                app.asgi,
                http=guarded(settings.stalled_client_s),
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )
        follow_supervisor(lambda: setattr(server, "should_exit", True))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.reload)
        await server.serve(sockets=[listener])
    finally:
        await app.stop()


class _Server(uvicorn.Server):
    """uvicorn's server, except that the signal which ended it is not raised once more at its end.

    That would kill the worker before it has recorded the calls that it cuts and closed its journal.
    """

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _spare_the_collector() -> None:
    """Keep what lives as long as the worker out of garbage collection, and collect the rest less often.

    A call leaves no cycles behind, and each pass over a few hundred thousand keys or prices would stop every call. What
    the start itself left is kept with the rest: it is next to nothing, and to look for it costs a tenth of a second.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()


def _give_memory_back() -> None:
    """Have the C library return the memory of long bodies when they are done with, instead of keeping it for more.

    Left alone it takes them from its heap once it has seen some, and a heap with one small thing on top never shrinks.
    Source: mallopt(3), Linux man-pages 6 (2024). Another C library has no such function, and needs none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LONG_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
