"""Owns what callers do with ingests: begin one, send files, close it, look at it, cancel it."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest, RequestTooLarge
from backstay.core.ids import new_id
from backstay.retrieval.ingest_store import PIECE_BYTES, IngestStore, IngestView, ItemView
from backstay.retrieval.parsing import MOST_BYTES
from backstay.retrieval.store import RetrievalStore

PROBLEMS = ("unreadable", "failed")


class Ingests:
    """The ingests of all tenants. Every verb raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, ingests: IngestStore, store: RetrievalStore, *, most_bytes: int = MOST_BYTES):
        self._ingests = ingests
        self._store = store
        self._most_bytes = most_bytes

    async def begin(
        self,
        caller: Caller,
        collection: str,
        *,
        urls: Sequence[str] = (),
        principals: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Begin an ingest and return its id. What is to be fetched is work at once; its calls are the caller's own.

        Raises:
            NotFound: There is no such collection.
        """
        await self._store.find(caller.tenant_id, collection)
        place = {"tenant_id": caller.tenant_id, "ingest_id": new_id("ing"), "collection": collection}
        await self._ingests.begin(place, caller.id, principals, metadata or {})
        if urls:
            await self._ingests.add_urls(caller.tenant_id, place["ingest_id"], urls)
        return place["ingest_id"]

    async def receive(
        self, tenant_id: str, ingest_id: str, external_id: str, pieces: AsyncIterator[bytes], *, told_hash: str | None
    ) -> None:
        """Take a file in, piece by piece; a part of it is never work.

        Args:
            told_hash: The sender's own hash, by which it knows the file again; ``None``: that of its bytes.

        Raises:
            NotFound: There is no such ingest.
            Conflict: It takes nothing more in.
            InvalidRequest: The file is empty.
            RequestTooLarge: It is too large.
        """
        item = {"tenant_id": tenant_id, "ingest_id": ingest_id, "external_id": external_id}
        await self._ingests.begin_item(item)
        try:
            size, digest = await self._keep(item, pieces)
            await self._ingests.end_item(item, size, told_hash or digest)
        except BaseException:
            await self._ingests.drop_item(item)
            raise

    async def _keep(self, item: Mapping[str, str], pieces: AsyncIterator[bytes]) -> tuple[int, str]:
        held, size, number, digest = bytearray(), 0, 0, hashlib.sha256()
        async for piece in pieces:
            held += piece
            size += len(piece)
            digest.update(piece)
            if size > self._most_bytes:
                most = f"{self._most_bytes // 1024**2} MiB"
                raise RequestTooLarge(
                    f"{item['external_id']} has more than {most}, the most that is taken of one file. Split it."
                )
            if len(held) >= PIECE_BYTES:
                await self._ingests.add_piece(item, number, bytes(held))
                number += 1
                held.clear()
        if size == 0:
            raise InvalidRequest(f"{item['external_id']} is empty: there is nothing to read.")
        if held:
            await self._ingests.add_piece(item, number, bytes(held))
        return size, digest.hexdigest()

    async def close(self, tenant_id: str, ingest_id: str, *, cancel: bool = False) -> IngestView:
        """Say that nothing more comes, or with ``cancel`` that nothing more is wanted. Raises ``NotFound``."""
        await self._ingests.view(tenant_id, ingest_id)
        await self._ingests.close(tenant_id, ingest_id, cancel=cancel)
        return await self._ingests.view(tenant_id, ingest_id)

    async def show(self, tenant_id: str, ingest_id: str) -> tuple[IngestView, bool]:
        """Show an ingest, and whether there is anybody to work on it. Raises ``NotFound``."""
        return await self._ingests.view(tenant_id, ingest_id), await self._ingests.is_served()

    async def all(self, tenant_id: str, collection: str, *, limit: int = 50) -> list[IngestView]:
        """List the last ingests into a collection. Raises ``NotFound`` where there is none, nor such a collection."""
        found = await self._ingests.views(tenant_id, collection=collection, limit=limit)
        if not found:
            await self._store.find(tenant_id, collection)
        return found

    async def items(
        self, tenant_id: str, ingest_id: str, *, states: Sequence[str] | None, after: str, limit: int
    ) -> list[ItemView]:
        """List items of an ingest, those in some states. Raises ``NotFound``."""
        await self._ingests.view(tenant_id, ingest_id)
        return await self._ingests.items(tenant_id, ingest_id, states=states, after=after, limit=limit)
