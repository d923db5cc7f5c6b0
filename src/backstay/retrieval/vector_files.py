"""Owns the reading of files into vector stores: one after the other in the background, taken up where it stopped.

What a worker was at when it died is still in progress in Postgres: the worker that is next asked for it takes it up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import PurePath

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, NotFound, StoreUnavailable
from backstay.retrieval.collections import Collections
from backstay.retrieval.ingesting import Ingest
from backstay.retrieval.parsing import Parser, Unreadable
from backstay.retrieval.types import NewDocument
from backstay.retrieval.vector_stores import TakenFile, VectorStores

_log = logging.getLogger(__name__)

Fetch = Callable[[Caller, str], Awaitable[bytes]]
"""Returns what a file of the caller's holds. Raises ``NotFound``, or ``Unreadable`` where it is too large."""


class VectorFiles:
    """Reads the files of one worker's callers. ``close`` ends it."""

    def __init__(self, stores: VectorStores, collections: Collections, ingest: Ingest, fetch: Fetch):
        self._stores = stores
        self._collections = collections
        self._ingest = ingest
        self._fetch = fetch
        self._parser = Parser()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def read_on(self, caller: Caller, store_id: str) -> None:
        """Read what is to be read of a store, as this caller, unless that is being done here."""
        place = (caller.tenant_id, store_id)
        if place not in self._tasks:
            task = self._tasks[place] = asyncio.create_task(self._read_all(caller, store_id))
            task.add_done_callback(lambda _: self._tasks.pop(place, None))

    async def idle(self) -> None:
        """Wait until nothing is being read here."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """Stop. What was not read stays in progress."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._parser.close()

    async def _read_all(self, caller: Caller, store_id: str) -> None:
        taken: TakenFile | None = None
        try:
            while (taken := await self._stores.take(caller, store_id)) is not None:
                error = await self._read(caller, store_id, taken)
                status = "completed" if error is None else "failed"
                if not await self._stores.end(caller, store_id, taken.file_id, status, error):
                    await self._collections.remove(caller.tenant_id, store_id, [taken.file_id])
        except BackstayError as error:
            _log.warning("The files of %s are read on later: %s", store_id, error.message)
            if taken is not None:
                with suppress(StoreUnavailable):
                    await self._stores.release(caller, store_id, taken.file_id)

    async def _read(self, caller: Caller, store_id: str, taken: TakenFile) -> tuple[str, str] | None:
        """Read one file, and return the code and the sentence of what is wrong with it.

        Raises:
            BackstayError: It may be read later.
        """
        try:
            parsed = await self._parser.parse(taken.filename, await self._fetch(caller, taken.file_id))
            document = NewDocument(
                external_id=taken.file_id,
                text=parsed.text,
                title=parsed.title or PurePath(taken.filename).stem[:500],
                media_type=parsed.media_type,
                page_starts=parsed.page_starts,
                metadata=taken.attributes,
                principals=None if taken.principals is None else tuple(taken.principals),
            )
            await self._ingest.put(caller, store_id, [document])
        except Unreadable as error:
            return "unsupported_file", error.message
        except NotFound as error:
            return "invalid_file", error.message
        except BackstayError as error:
            if error.retryable:
                raise
            return "server_error", error.message
        return None
