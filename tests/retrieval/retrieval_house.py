"""Owns the rooms of retrieval as tests hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backstay.core.caller import Caller
from backstay.retrieval import Collections, Ingest, NewDocument, Query, RetrievalStore, Search
from backstay.retrieval.types import Kept


class CountingCalls(Protocol):
    """Counts the texts that were embedded."""

    texts: int


@dataclass(frozen=True, kw_only=True)
class House:
    """What a worker has of retrieval."""

    caller: Caller
    calls: CountingCalls
    store: RetrievalStore
    collections: Collections
    ingest: Ingest
    search: Search

    async def put(self, *documents: NewDocument, name: str = "docs") -> Kept:
        return await self.ingest.put(self.caller, name, documents)

    async def found(self, text: str, *, name: str = "docs", **more: Any) -> Sequence[str]:
        """Return the external ids that a search finds, in rank order."""
        asked = Query(text=text, by_document=True, **more)
        return [each.external_id for each in await self.search.find(self.caller, name, asked)]
