"""Owns the making, showing and deleting of collections, and of their documents."""

from collections.abc import Sequence

import msgspec

from backstay.core.errors import BackstayError, InvalidRequest, NotFound
from backstay.retrieval.code import require_grammars
from backstay.retrieval.languages import LANGUAGES
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import Chunking, CollectionView, DocumentPart, KeptDocument, Settings, SettingsChange


class NoVectors(BackstayError):
    """This Postgres has no pgvector of version 0.8 or newer. Install it, or use the embedded one."""

    code = "no_vectors"
    status = 501


class Collections:
    """The collections of all tenants."""

    def __init__(self, store: RetrievalStore):
        self._store = store

    async def create(self, tenant_id: str, name: str, settings: Settings) -> CollectionView:
        """Make a collection.

        Raises:
            Conflict: There is one of that name.
            InvalidRequest: A setting is not possible.
            NoVectors: Postgres lacks pgvector.
        """
        if settings.language not in LANGUAGES and settings.language != "auto":
            known = ", ".join(["auto", *LANGUAGES])
            raise InvalidRequest(f"`{settings.language}` is no known language; those are {known}.", param="language")
        check_chunking(settings.chunking)
        if not await self._store.ensure():
            raise NoVectors
        await self._store.create(tenant_id, name, settings)
        return await self.show(tenant_id, name)

    async def all(self, tenant_id: str, principals: Sequence[str] | None = None) -> list[CollectionView]:
        """List a tenant's collections by name. Counted is what principals may read; ``None``: everything."""
        return await self._store.views(tenant_id, None, principals)

    async def show(self, tenant_id: str, name: str, principals: Sequence[str] | None = None) -> CollectionView:
        """Show a collection, counted like that. Raises ``NotFound``."""
        found = await self._store.views(tenant_id, name, principals)
        if not found:
            raise NotFound(f"There is no collection {name}. `backstay collections create {name}` makes it.")
        return found[0]

    async def change(self, tenant_id: str, name: str, change: SettingsChange) -> CollectionView:
        """Change settings, from the next question on; where none is named, nothing. Raises ``NotFound``."""
        await self._store.change_settings(tenant_id, name, msgspec.to_builtins(change))
        return await self.show(tenant_id, name)

    async def delete(self, tenant_id: str, name: str) -> None:
        """Delete a collection, its documents and their index. Raises ``NotFound``."""
        await self._store.delete(tenant_id, name)

    async def documents(self, tenant_id: str, name: str, *, after: str = "", limit: int = 100) -> list[KeptDocument]:
        """List documents by their external ids, whoever may read them. Raises ``NotFound``."""
        return await self._store.documents(await self._store.find(tenant_id, name), after=after, limit=limit)

    async def part(self, tenant_id: str, name: str, external_id: str, *, start: int, length: int) -> DocumentPart:
        """Read a part of a document's text, whoever may read it. Raises ``NotFound``."""
        found = await self._store.part(
            await self._store.find(tenant_id, name), external_id, start=start, length=length
        )  # fmt: skip
        if found is None:
            raise NotFound(f"The collection {name} has no document {external_id!r}.")
        return found

    async def remove(self, tenant_id: str, name: str, external_ids: Sequence[str]) -> int:
        """Delete documents and return how many there were. Raises ``NotFound`` where there is no such collection."""
        collection = await self._store.find(tenant_id, name)
        return await self._store.remove(collection, external_ids) if external_ids else 0

    async def prune(self, tenant_id: str, name: str, kept: Sequence[str]) -> int:
        """Delete all documents but those named, and return how many. Raises ``NotFound``."""
        collection = await self._store.find(tenant_id, name)
        absent = await self._store.absent(collection, kept)
        return await self._store.remove(collection, absent) if absent else 0


def check_chunking(chunking: Chunking) -> None:
    """Hold what no field of a chunking says alone.

    Raises:
        InvalidRequest: Two fields do not go together.
        CodeNotInstalled: It is to cut source code, and the library for that is missing.
    """
    if chunking.strategy == "code":
        require_grammars()
    parent = chunking.parent_chars
    if parent is not None and chunking.strategy != "tokens" and parent <= chunking.max_chars:
        raise InvalidRequest(
            f"`parent_chars` ({parent}) must be above `max_chars` ({chunking.max_chars}): parents are cut into chunks.",
            param="chunking.parent_chars",
        )
    if 2 * chunking.overlap_chars > chunking.max_chars:
        raise InvalidRequest("Chunks may overlap by half of `max_chars` at most.", param="chunking.overlap_chars")
