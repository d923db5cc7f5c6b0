"""Owns background work in rounds: one after the other, through faults and absences of Postgres."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from backstay.core.errors import StoreUnavailable

FAULT_S = 1.0
"""The pause after a fault."""

_log = logging.getLogger(__name__)


async def again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    """Do a round of work after the other; a fault in one does not end it."""
    while True:
        try:
            await work()
        except StoreUnavailable as error:
            _log.warning("jobs wait for Postgres: %s", error.message)
            await asyncio.sleep(FAULT_S)
        except Exception:  # noqa: BLE001 - the edge of the task: what failed now is tried again
            _log.exception("running jobs failed; it goes on")
            await asyncio.sleep(FAULT_S)


async def wait_for(event: asyncio.Event, limit_s: float) -> None:
    """Wait for an event, and clear it, for so many seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()
    event.clear()
