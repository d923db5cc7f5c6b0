"""Owns the change of a collection's model or chunking while it is searched: begun, shown, switched, dropped."""

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.retrieval.collections import check_chunking
from backstay.retrieval.embeddings import Embeddings
from backstay.retrieval.generation_store import GenerationStore, GenerationView
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import Chunking

_PROBE = "A text that shows whether this model makes vectors."


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """The generations of a collection."""

    live: GenerationView
    other: GenerationView | None
    """What is built beside it, or what was switched away from; ``None``: there is the live one alone."""


class Migrations:
    """The migrations of all collections."""

    def __init__(self, generations: GenerationStore, store: RetrievalStore, embeddings: Embeddings):
        self._generations = generations
        self._store = store
        self._embeddings = embeddings

    async def start(
        self, caller: Caller, name: str, *, chunking: Chunking | None, embedding_model: str | None
    ) -> Migration:
        """Begin a generation beside the live one; what is ``None`` stays as it is. The calls are the caller's own.

        Raises:
            NotFound: There is no such collection.
            Conflict: There is a generation beside the live one already.
            InvalidRequest: Nothing would change, or the chunking is not possible.
            BackstayError: The model makes no vectors for this caller.
        """
        collection = await self._store.find(caller.tenant_id, name)
        chunking, model = chunking or collection.chunking, embedding_model or collection.embedding_model
        check_chunking(chunking)
        if (chunking, model) == (collection.chunking, collection.embedding_model):
            raise InvalidRequest(f"{name} is cut and embedded like that already. Name another model or chunking.")
        if model != collection.embedding_model:
            await self._embeddings.of_query(caller, msgspec.structs.replace(collection, embedding_model=model), _PROBE)
        await self._generations.start(collection, chunking, model, caller.id)
        return await self.show(caller.tenant_id, name)

    async def show(self, tenant_id: str, name: str) -> Migration:
        """Show the generations of a collection. Raises ``NotFound``."""
        live, *others = await self._generations.views(tenant_id, name)
        return Migration(live=live, other=others[0] if others else None)

    async def switch(self, tenant_id: str, name: str, *, back: bool) -> Migration:
        """Make the new generation the live one, or the one that was before it, from the next search on.

        Raises:
            NotFound: There is no such collection.
            Conflict: There is none to switch to, or it lacks documents.
        """
        collection = await self._store.find(tenant_id, name)
        await self._generations.switch(collection, to="retired" if back else "building")
        return await self.show(tenant_id, name)

    async def drop(self, tenant_id: str, name: str) -> Migration:
        """Drop the generation that is not live. Raises ``NotFound`` where there is none."""
        await self._generations.drop(await self._store.find(tenant_id, name))
        return await self.show(tenant_id, name)
