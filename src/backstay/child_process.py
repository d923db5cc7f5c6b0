"""Owns what the processes below the supervisor do alike: they log to its stderr, and end when it is gone."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial

from backstay.core.settings import Settings

_STDIN = 0


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, as the settings say."""
    pattern = "%(asctime)s %(levelname)-7s %(name)s  %(message)s"
    if settings.log_format == "json":
        pattern = '{"at":"%(asctime)s","level":"%(levelname)s","logger":"%(name)s","message":%(message)r}'
    logging.basicConfig(level=settings.log_level.upper(), format=pattern, stream=sys.stderr)


def follow_supervisor(on_gone: Callable[[], object]) -> None:
    """Call ``on_gone``, in a thread, when standard input ends: the supervisor held its other side and is gone."""

    def wait() -> None:
        # Not through sys.stdin: the interpreter aborts at its end where a thread is within one of its buffered reads.
        while os.read(_STDIN, 4096):
            pass
        on_gone()

    threading.Thread(target=wait, name="follow-supervisor", daemon=True).start()


def told_to_end() -> asyncio.Event:
    """Return what is set by SIGTERM or the supervisor's end; a second SIGTERM then kills, as it does by default."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()

    def on_signal() -> None:
        end.set()
        loop.remove_signal_handler(signal.SIGTERM)

    loop.add_signal_handler(signal.SIGTERM, on_signal)
    follow_supervisor(partial(loop.call_soon_threadsafe, end.set))
    return end
