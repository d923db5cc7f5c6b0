"""Owns the export of the ledger: a stream of CSV that Postgres writes, and what it is turned into on its way."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Literal

from backstay.core.errors import Overloaded
from backstay.ledger.parquet import ParquetBlocks
from backstay.store import Database, load_queries

Format = Literal["csv", "focus", "parquet"]
"""``csv`` and ``parquet``: a row for each attempt. ``focus``: FOCUS 1.2 as CSV, a row for each line of its bill."""

_QUERIES = load_queries("backstay.ledger", "exports.sql")
_BLOCK_BYTES = 256 * 1024
"""Rows are passed on in blocks of about so much: this is what an export holds in memory, whatever its length."""
_PARQUET_BYTES = 8 * 1024 * 1024
"""CSV of one row group."""
_TIMEOUT_S = 3600.0
_AT_ONCE = 2
"""Exports of one process: each holds a connection to Postgres for as long as its reader takes."""

_GZIP = 16 + zlib.MAX_WBITS


class LedgerExport:
    """Streams one tenant's ledger entries. Times are aware; ``since`` is included, ``until`` is not."""

    def __init__(self, database: Database):
        self._database = database
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def stream(
        self,
        tenant_id: str,
        form: Format,
        *,
        since: datetime,
        until: datetime,
        key_id: str | None = None,
        gzip: bool = False,
    ) -> AsyncGenerator[bytes]:
        """Begin an export, and give its bytes as they come. What can fail at once fails before this returns.

        Raises:
            InvalidRequest: Parquet is asked for and its library is not installed.
            Overloaded: Too many exports run in this process.
            StoreUnavailable: Postgres does not answer; later, while the bytes are read, too.
        """
        turned = ParquetBlocks() if form == "parquet" else None
        if self._places.locked():
            raise Overloaded(f"{_AT_ONCE} exports run on this worker already. Try again once one has ended.")
        size_bytes = _PARQUET_BYTES if turned else _BLOCK_BYTES
        query = "focus" if form == "focus" else "csv"
        blocks: AsyncGenerator[bytes] = self._blocks(tenant_id, query, since, until, key_id, size_bytes)
        if turned is not None:
            blocks = _through(blocks, turned.write, turned.end)
        if gzip:
            packer = zlib.compressobj(wbits=_GZIP)
            blocks = _through(blocks, packer.compress, packer.flush)
        first = await anext(blocks, b"")
        return _after(first, blocks)

    async def _blocks(
        self, tenant_id: str, query: str, since: datetime, until: datetime, key_id: str | None, size_bytes: int
    ) -> AsyncGenerator[bytes]:
        """Pass on what Postgres writes, in blocks of whole rows; the names of the columns are the first row."""
        params = {"tenant_id": tenant_id, "since": since, "until": until, "key_id": key_id}
        copy = "copy (" + _QUERIES[query] + ") to stdout (format csv, header)"
        async with self._places, self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            async with connection.cursor() as cursor, cursor.copy(copy, params) as rows:
                held, held_bytes = list[bytes](), 0
                async for row in rows:
                    held.append(bytes(row))
                    held_bytes += len(row)
                    if held_bytes >= size_bytes:
                        yield b"".join(held)
                        held, held_bytes = list[bytes](), 0
                yield b"".join(held)


async def _through(
    blocks: AsyncIterator[bytes], write: Callable[[bytes], bytes], end: Callable[[], bytes]
) -> AsyncGenerator[bytes]:
    """Turn blocks into others, in a thread: it is work for the processor, and the loop answers calls."""
    async for block in blocks:
        if turned := await asyncio.to_thread(write, block):
            yield turned
    yield await asyncio.to_thread(end)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for block in rest:
        yield block
