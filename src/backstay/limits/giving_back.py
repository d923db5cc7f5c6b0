"""Owns what is done once a worker is found dead: all that it had borrowed and did not use comes back at once."""

import asyncio
import logging
from pathlib import Path

from backstay.limits.store import end_worker
from backstay.limits.use_log import read_notes
from backstay.store import Database

_log = logging.getLogger(__name__)


async def give_back(database: Database, worker: str, folder: Path) -> None:
    """Close the account of a worker whose process has ended, however it did. May be called again.

    Args:
        worker: The owner of the journal.
        folder: Where that is: its worker noted there what it used.

    Raises:
        StoreUnavailable: Postgres does not answer in time.
    """
    notes = await asyncio.to_thread(read_notes, folder)
    if held := await end_worker(database, worker, notes):
        _log.info("a worker that ended held %d permits of limits: what it did not use is free again", held)
