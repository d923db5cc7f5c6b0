"""Owns the rooms of retrieval as tests hold them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backstay.core.caller import Caller
from backstay.core.ports import ModelCalls
from backstay.retrieval import Collections, Ingest, NewDocument, Query, RetrievalStore, Search
from backstay.retrieval.building import Builder
from backstay.retrieval.comparing import Comparing
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.migrating import Migrations
from backstay.retrieval.recent import RecentQueries
from backstay.retrieval.types import Kept


class CountingCalls(ModelCalls, Protocol):
    """Counts the texts that were embedded, says when one is, and fails for the models that are broken."""

    texts: int
    broken: set[str]
    made: asyncio.Event


@dataclass(frozen=True, kw_only=True)
class House:
    """What a worker has of retrieval."""

    caller: Caller
    calls: CountingCalls
    store: RetrievalStore
    collections: Collections
    ingest: Ingest
    search: Search
    far: Search
    """One that keeps no vectors in memory."""
    generations: GenerationStore
    migrations: Migrations
    comparing: Comparing
    recent: RecentQueries

    def builder(self) -> Builder:
        """Make what builds generations, as a process has it that has just begun."""

        async def caller_of(tenant_id: str, key_id: str) -> Caller:
            assert (tenant_id, key_id) == (self.caller.tenant_id, self.caller.id)
            return self.caller

        return Builder(self.generations, self.store, self.ingest, caller_of, owner="here")

    async def build(self) -> None:
        """Build all that is to be built."""
        builder = self.builder()
        while await builder.run_once():
            pass

    async def put(self, *documents: NewDocument, name: str = "docs") -> Kept:
        return await self.ingest.put(self.caller, name, documents)

    async def found(self, text: str, *, name: str = "docs", **more: Any) -> Sequence[str]:
        """Return the external ids that a search finds, in rank order."""
        asked = Query(text=text, by_document=True, **more)
        return [each.external_id for each in await self.search.find(self.caller, name, asked)]
