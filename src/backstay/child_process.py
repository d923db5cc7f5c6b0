"""Owns what the processes below the supervisor do alike: they log to its stderr, and end when it is gone."""

import logging
import os
import sys
import threading
from collections.abc import Callable

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
