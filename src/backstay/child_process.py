"""Owns what the processes below the supervisor do alike: they log to its stderr, and end when it is gone."""

import logging
import sys
import threading
from collections.abc import Callable

from backstay.core.settings import Settings


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, as the settings say."""
    pattern = "%(asctime)s %(levelname)-7s %(name)s  %(message)s"
    if settings.log_format == "json":
        pattern = '{"at":"%(asctime)s","level":"%(levelname)s","logger":"%(name)s","message":%(message)r}'
    logging.basicConfig(level=settings.log_level.upper(), format=pattern, stream=sys.stderr)


def follow_supervisor(on_gone: Callable[[], object]) -> None:
    """Call ``on_gone``, in a thread, when standard input ends: the supervisor held its other side and is gone."""

    def wait() -> None:
        sys.stdin.buffer.read()
        on_gone()

    threading.Thread(target=wait, name="follow-supervisor", daemon=True).start()
