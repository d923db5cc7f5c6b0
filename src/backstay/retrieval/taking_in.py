"""Owns the work on ingests: files and addresses are got, read, and kept, some at a time.

What became of a file is written in the transaction that writes its document, so that who goes on after a kill does
nothing twice and leaves nothing out.
"""

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, InvalidRequest, NotFound, StoreUnavailable
from backstay.retrieval.building import CallerOf
from backstay.retrieval.ingest_store import Ended, IngestStore, Item, Unwanted
from backstay.retrieval.ingesting import Ingest, Written
from backstay.retrieval.parsing import Parser, Unreadable
from backstay.retrieval.types import Known, NewDocument
from backstay.store import Connection

_AT_ONCE = 32
_BYTES_AT_ONCE = 4 * 1024 * 1024
_CHARS_AT_ONCE = 200_000
"""Of texts that are kept together: what was embedded and not written yet is made again after a kill."""
_MOST_TRIES = 6
_LONGEST_TITLE = 500
_PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1800.0)

Fetch = Callable[[str, IO[bytes]], Awaitable[str]]
"""Writes what is at an address into a file, and returns what such a file would be named.

Raises ``NotFound`` where it is not there, ``InvalidRequest`` where it may not be got, any other ``BackstayError`` where
that may be so just now."""

ReadFile = Callable[[str, str], AsyncIterator[bytes]]
"""Goes through the bytes of a tenant's file, by its id; there are none where it is gone."""

_log = logging.getLogger(__name__)


class TakingIn:
    """One line of work on the ingests of an installation; several go on beside each other."""

    def __init__(
        self, ingests: IngestStore, ingest: Ingest, caller_of: CallerOf, fetch: Fetch, read_file: ReadFile, *,
        owner: str, wake: Callable[[], None],
    ):  # fmt: skip
        """Begin. ``wake`` is called when there is work for others too."""
        self._ingests = ingests
        self._ingest = ingest
        self._caller_of = caller_of
        self._fetch = fetch
        self._read_file = read_file
        self._owner = owner
        self._wake = wake
        self._parser = Parser()

    async def close(self) -> None:
        """End the process that reads files."""
        await self._parser.close()

    async def run_once(self) -> bool:
        """Take some items in; ``False`` if there are none.

        Raises:
            StoreUnavailable: Postgres does not answer.
        """
        items = await self._ingests.claim(self._owner, limit=_AT_ONCE, most_bytes=_BYTES_AT_ONCE)
        if not items:
            return False
        self._wake()
        try:
            await self._take(items)
        except StoreUnavailable as error:
            await self._put_back(items, error)
        except Exception:  # noqa: BLE001 - the edge of some items: a fault of ours must not lose them
            _log.exception("taking in %s failed", items[0].external_id)
            await self._after_failure(items, "It could not be taken in. See the log of the process that runs jobs.")
        return True

    async def _put_back(self, items: Sequence[Item], error: StoreUnavailable) -> None:
        """Let items wait again, however long Postgres is away: until then they count as under way here."""
        _log.warning("%s and others wait for Postgres: %s", items[0].external_id, error.message)
        while True:
            try:
                await self._ingests.put_back(items, pause_s=1.0, problem=None, counts=False)
                return
            except StoreUnavailable:
                await asyncio.sleep(1.0)

    async def _take(self, items: Sequence[Item]) -> None:
        try:
            caller = await self._caller_of(items[0].tenant_id, items[0].key_id)
        except StoreUnavailable:
            raise
        except BackstayError as error:
            await self._ingests.end_alone(items[0], [_failed(each, error.message) for each in items])
            return
        caller = msgspec.structs.replace(caller, priority="batch")
        read: list[tuple[Item, NewDocument]] = []
        for item in await self._wanted(items):
            document = await self._read(item)
            if document is not None:
                read.append((item, document))
            if sum(len(each.text) for _, each in read) >= _CHARS_AT_ONCE:
                await self._keep(caller, read)
                read = []
        if read:
            await self._keep(caller, read)

    async def _wanted(self, items: Sequence[Item]) -> Sequence[Item]:
        """End what is kept already as it is, by what it is known by: nothing of it is read. Return the others."""
        of = items[0]
        try:
            known = await self._ingest.known(of.tenant_id, of.collection, [item.external_id for item in items])
        except NotFound as error:
            await self._fail_all(of, error)
            return []
        unchanged = {item.external_id for item in items if _is_kept(known, item)}
        if unchanged:
            await self._ingests.end_alone(of, [Ended(external_id=name, state="unchanged") for name in unchanged])
        return [item for item in items if item.external_id not in unchanged]

    async def _fail_all(self, of: Item, error: NotFound) -> None:
        await self._ingests.fail_all(of, f"The collection {of.collection} is gone. {error.message}")

    async def _read(self, item: Item) -> NewDocument | None:
        """Get a file and read it; what cannot be read is ended with the reason."""
        if item.tries > _MOST_TRIES:
            problem = f"It was begun {item.tries - 1} times, and never came to an end."
            await self._ingests.end_alone(item, [_failed(item, problem)])
            return None
        try:
            with tempfile.NamedTemporaryFile(prefix="backstay-") as file:
                name, content_hash = await self._get(item, file)
                file.flush()
                parsed = await self._parser.parse_file(name, Path(file.name))
        except (InvalidRequest, NotFound) as error:
            await self._leave_out(item, error)
            return None
        except StoreUnavailable:
            raise
        except BackstayError as error:
            await self._after_failure([item], error.message)
            return None
        return NewDocument(
            external_id=item.external_id,
            text=parsed.text,
            title=parsed.title or ("" if item.url else Path(name).stem[:_LONGEST_TITLE]),
            media_type=parsed.media_type,
            metadata=item.metadata,
            principals=item.principals,
            page_starts=parsed.page_starts,
            content_hash=content_hash,
        )

    async def _leave_out(self, item: Item, error: InvalidRequest | NotFound) -> None:
        """End what cannot be read with the reason. What was at an address and is there no more goes."""
        if isinstance(error, NotFound):
            try:
                await self._ingest.remove(item.tenant_id, item.collection, item.external_id)
            except NotFound as gone:
                await self._ingests.fail_all(item, gone.message)
                return
        ended = Ended(
            external_id=item.external_id, state="unreadable", problem=error.message,
            is_gone=isinstance(error, NotFound),
        )  # fmt: skip
        await self._ingests.end_alone(item, [ended])

    async def _get(self, item: Item, file: IO[bytes]) -> tuple[str, str]:
        """Write an item's bytes into a file, and return its name and what it is known by."""
        if item.url is not None:
            name = await self._fetch(item.url, file)
            file.flush()
            digest = await asyncio.to_thread(_digest, Path(file.name))
            return name, digest
        if item.filename is not None:
            return item.filename, await self._get_stored(item, item.filename, file)
        async for piece in self._ingests.pieces(item):
            file.write(piece)
        if item.content_hash is None:
            raise Unreadable(f"{item.external_id} did not arrive whole. Send it again.")
        return item.external_id, item.content_hash

    async def _get_stored(self, item: Item, filename: str, file: IO[bytes]) -> str:
        """Write a file of a vector store into another, and return what it is known by. Raises ``NotFound``."""
        digest, size = hashlib.sha256(), 0
        async for piece in self._read_file(item.tenant_id, item.external_id):
            await asyncio.to_thread(file.write, piece)
            digest.update(piece)
            size += len(piece)
        if size < item.size_bytes:
            raise NotFound(f"The file {filename} ({item.external_id}) is gone. Upload it again.")
        return digest.hexdigest()

    async def _keep(self, caller: Caller, read: Sequence[tuple[Item, NewDocument]]) -> None:
        """Keep documents together; if what is wrong with one of them fails all, each by itself."""
        first = read[0][0]

        async def tell(connection: Connection, written: Written) -> None:
            ended = [Ended(external_id=name, state="added", chunks=written.chunks[name]) for name in written.added]
            ended += [Ended(external_id=name, state="changed", chunks=written.chunks[name]) for name in written.changed]
            await self._ingests.end_written(connection, first, ended, written.embedded)

        try:
            await self._ingest.put(caller, first.collection, [document for _, document in read], tell)
        except Unwanted as less:
            if wanted := [pair for pair in read if pair[0].external_id not in less.external_ids]:
                await self._keep(caller, wanted)
        except NotFound as error:
            await self._fail_all(first, error)
        except StoreUnavailable:
            raise
        except BackstayError as error:
            if error.retryable:
                await self._after_failure([item for item, _ in read], error.message)
            elif len(read) > 1:
                for each in read:
                    await self._keep(caller, [each])
            else:
                await self._ingests.end_alone(first, [_failed(first, error.message)])
        else:
            # Only what is still under way is ended by this: those of which the transaction told are not.
            await self._ingests.end_alone(
                first, [Ended(external_id=item.external_id, state="unchanged") for item, _ in read]
            )

    async def _after_failure(self, items: Sequence[Item], problem: str) -> None:
        """Try again later what was not tried too often."""
        for item in items:
            if item.tries >= _MOST_TRIES:
                await self._ingests.end_alone(item, [_failed(item, problem)])
            else:
                pause_s = _PAUSES_S[min(item.tries, len(_PAUSES_S)) - 1]
                await self._ingests.put_back([item], pause_s=pause_s, problem=problem, counts=True)


def _failed(item: Item, problem: str) -> Ended:
    return Ended(external_id=item.external_id, state="failed", problem=problem)


def _is_kept(known: Known, item: Item) -> bool:
    kept = known.get(item.external_id)
    return kept is not None and item.content_hash is not None and kept.is_of(item.content_hash, item)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
