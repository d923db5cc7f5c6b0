"""Owns what the tests of retrieval share: the real local embedding model, in this process, for a caller's calls."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from retrieval_house import House
from wires_house import wires_server

from backstay.api.auth import operator
from backstay.core.caller import Caller
from backstay.core.errors import ProviderUnreachable
from backstay.core.ports import ModelAnswer, OwnOperation
from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.retrieval import Collections, Embeddings, Ingest, RetrievalStore, Search, Settings
from backstay.retrieval.comparing import Comparing
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.migrating import Migrations
from backstay.retrieval.recent import RecentQueries
from backstay.retrieval.types import Chunking
from backstay.store import Database
from serving import Server


class LocalCalls:
    """Makes embeddings calls with the local model, and counts the texts. ``short`` is one with fewer dimensions."""

    def __init__(self, embedder: Embedder):
        self.texts = 0
        self.broken: set[str] = set()
        self.made = asyncio.Event()
        self._embedder = embedder

    async def make(self, caller: Caller, operation: OwnOperation, body: Mapping[str, Any]) -> ModelAnswer:
        assert operation == "embeddings"
        self.texts += len(body["input"])
        self.made.set()
        if body["model"] in self.broken:
            raise ProviderUnreachable(f"{body['model']} is away.")
        size = 128 if body["model"] == "short" else 384
        vectors = self._embedder.embed(body["input"]).vectors[:, :size].tolist()
        data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        return ModelAnswer(body=msgspec.json.encode({"data": data}), trace_id="0" * 32, cost_usd="0")


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder(embedding_weights(), embedding_tokenizer(), threads=1)


@pytest.fixture
async def house(database: Database, tenant: str, embedder: Embedder) -> House:
    """A worker's rooms of retrieval, with a collection ``docs`` of the tenant ``acme``."""
    calls, store = LocalCalls(embedder), RetrievalStore(database)
    embeddings = Embeddings(calls, store)
    generations = GenerationStore(database, store)
    recent = RecentQueries(generations, keeps_texts=True)
    search = Search(store, embeddings, recent.hear)
    house = House(
        caller=operator(tenant),
        calls=calls,
        store=store,
        collections=Collections(store),
        ingest=Ingest(store, embeddings, calls),
        search=search,
        far=Search(store, embeddings, most_vector_bytes=0),
        generations=generations,
        migrations=Migrations(generations, store, embeddings),
        comparing=Comparing(generations, store, search),
        recent=recent,
    )
    await house.collections.create(tenant, "docs", Settings(language="en", chunking=Chunking(max_chars=100)))
    return house


@pytest.fixture(scope="session")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a collection ``handbook`` that is the model ``docs``."""
    with wires_server(tmp_path_factory.mktemp("wires")) as server:
        yield server


@pytest.fixture(scope="session")
def wires_key(wires: Server) -> str:
    """A key that may call."""
    return wires.ask("keys", "create", "--name", "wires", "--rights", "call,read")["key"]
