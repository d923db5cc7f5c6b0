"""Owns ``python -m bench search``: how soon searches answer among 100,000 chunks, and what the vector index misses."""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.retrieval import Query, RetrievalStore
from backstay.retrieval.filters import read_filter
from backstay.retrieval.indexes import Index, Indexes
from backstay.retrieval.store import literal
from backstay.retrieval.types import Collection
from backstay.store import Database, EmbeddedPostgres, migrate
from bench.console import bearer, data_folder, serving
from bench.machine import BenchError
from bench.measured import percentile
from bench.processes import find_child, prioritise, resident_mib
from bench.search_books import GROUPS, NAME, TENANT, Large, Vectors, fill_collection

CHUNKS = 100_000
P50_MS, P95_MS, RECALL = 15.0, 40.0, 0.98
_QUERIES = 200
"""For each kind of search. Each is asked once, as the vectors of the last queries are remembered."""
_WARM_UP = 5
_COMPARED = 300
"""Queries by which it is told what is found."""
_CUT = 10
_CALLERS, _AT_ONCE = 4, 2
"""Callers at once, and the kind of their searches."""
_DEPTH = 100
"""Chunks that a search asks the index for."""
_DATA = Path(os.environ.get("BACKSTAY_DATA", Path(__file__).parents[2] / "shared" / "data"))


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of search."""

    name: str
    filter: Mapping[str, object] | None = None
    groups: Sequence[int] = ()
    parts: range = range(100)

    def body(self, query: str) -> bytes:
        told = {"query": query, "limit": _CUT, "principals": self.principals()}
        return json.dumps({**told, **({"filter": self.filter} if self.filter else {})}).encode()

    def principals(self) -> list[str]:
        return [f"group:{number}" for number in self.groups]

    def fits(self, large: Large) -> npt.NDArray[np.bool_]:
        """Say which chunks may be found."""
        readable = (large.group < 0) | np.isin(large.group, self.groups)
        return readable & (large.part >= self.parts.start) & (large.part < self.parts.stop)


KINDS = (
    Kind(name="public documents"),
    Kind(name="rights of three groups", groups=(1, 2, 3)),
    Kind(name="rights, and a filter that half meet", groups=(1, 2, 3), filter={"part": {"lt": 50}}, parts=range(50)),
    Kind(name="rights, and a filter that 1 % meet", groups=(4, 5), filter={"part": 7}, parts=range(7, 8)),
    Kind(name="rights to all", groups=tuple(range(GROUPS))),
)


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """The share of the nearest ten that is among the chunks which a search asks for."""

    memory: float
    """By the vectors in the worker's memory."""
    index: float
    """By the index in Postgres, where a worker's memory has no room for them."""


def main(*, chunks: int, kept: Path | None) -> int:
    """Fill a collection, measure, and print a table: 0 if every target holds, 1 if one does not.

    Args:
        chunks: How many it has.
        kept: A data folder to keep and to use again; ``None``: a temporary one.

    Raises:
        BenchError: It could not be measured.
    """
    prioritise(os.getpid())
    embedder = Embedder(embedding_weights(), embedding_tokenizer(), threads=2)
    queries = _queries()
    with data_folder(kept) as data_dir:
        is_there = (data_dir / "large.npz").is_file()
        recalls = asyncio.run(_fill_and_compare(data_dir, embedder, queries, chunks, is_there=is_there))
        with serving(data_dir, local_models=True) as (url, pid):
            headers = bearer(url, data_dir)
            others = iter(queries)
            times = {kind.name: _time(url, headers, kind, list(islice(others, _WARM_UP + _QUERIES))) for kind in KINDS}
            at_once = _time_at_once(url, headers, list(others))
            memory_mib = resident_mib(find_child(pid, "backstay.worker"))
    print("\n".join(_lines(chunks, times, recalls)))
    p50, p95 = statistics.median(at_once), percentile(at_once, 95)
    print(f"  {f'{_CALLERS} callers at once, {KINDS[_AT_ONCE].name}':<42}{p50:>10.1f}{p95:>10.1f}")
    print(f"  the worker's memory: {memory_mib:.0f} MiB")
    is_found = all(min(each.memory, each.index) >= RECALL for each in recalls.values())
    return 0 if all(map(_is_quick, times.values())) and is_found else 1


def _queries() -> list[str]:
    """Read questions, in no order."""
    lines = (_DATA / "xquad" / "en" / "queries.jsonl").read_text().splitlines()
    texts = list(dict.fromkeys(json.loads(line)["text"] for line in lines))
    return [texts[place] for place in np.random.default_rng(9).permutation(len(texts)).tolist()]


async def _fill_and_compare(
    data_dir: Path, embedder: Embedder, queries: Sequence[str], chunks: int, *, is_there: bool
) -> Mapping[str, Recall]:
    """Fill the collection, unless it is there, and tell for each kind of search what of the nearest ten is found."""
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    try:
        await migrate(url)
        database = Database(url)
        try:
            file = data_dir / "large.npz"
            if not is_there:
                filled = await fill_collection(database, embedder, _DATA, chunks)
                np.savez(file, vectors=filled.vectors, group=filled.group, part=filled.part)
            large = _read(file, chunks)
            asked = embedder.embed(queries[:_COMPARED]).vectors
            store = RetrievalStore(database)
            collection = await store.find(TENANT, NAME)
            first = await _first_id(store)
            async with Indexes(store).of(collection) as index:
                return {kind.name: await _recall(store, collection, index, kind, large, asked, first) for kind in KINDS}
        finally:
            await database.close()
    finally:
        await server.stop()


def _read(file: Path, chunks: int) -> Large:
    with np.load(file) as kept:
        if len(kept["group"]) != chunks:
            raise BenchError(
                f"{file.parent} has {len(kept['group']):,} chunks. Ask for as many, or take another folder."
            )
        return Large(vectors=kept["vectors"], group=kept["group"], part=kept["part"])


async def _recall(
    store: RetrievalStore, collection: Collection, index: Index, kind: Kind, large: Large, asked: Vectors, first: int
) -> Recall:
    query = Query(text="", filter=read_filter(kind.filter), principals=kind.principals())
    near, fits, allowed = index.near, kind.fits(large), index.fits(query)
    if near is None:
        raise BenchError("The vectors have no room in memory. Ask for fewer chunks.")
    in_memory = in_index = 0.0
    for vector in asked:
        exact = np.where(fits, large.vectors @ vector, -2.0)
        best = {int(place) + first for place in np.argpartition(-exact, _CUT)[:_CUT]}
        async with store.reading(collection, query) as reading:
            in_index += len(best.intersection(await reading.nearest(literal(vector), _DEPTH))) / _CUT
        in_memory += len(best.intersection(near.nearest(vector, query.principals, allowed, _DEPTH))) / _CUT
    return Recall(memory=in_memory / len(asked), index=in_index / len(asked))


async def _first_id(store: RetrievalStore) -> int:
    collection = await store.find(TENANT, NAME)
    changes = await store.changes_since(collection, 0)
    return min(row.chunk_id for row in changes.rows)


def _time_at_once(url: str, headers: Mapping[str, str], queries: Sequence[str]) -> list[float]:
    """Search by several callers at once, each its part of the queries, and return how long each search took."""
    with ThreadPoolExecutor(_CALLERS) as callers:
        parts = [queries[start::_CALLERS] for start in range(_CALLERS)]
        timed = [callers.submit(_time, url, headers, KINDS[_AT_ONCE], part) for part in parts]
        return [took_ms for each in timed for took_ms in each.result()]


def _time(url: str, headers: Mapping[str, str], kind: Kind, queries: Sequence[str]) -> list[float]:
    """Search for each query, one after the other, and return how long each but the first took, in milliseconds."""
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=120)
    took_ms = list[float]()
    for number, query in enumerate(queries):
        body = kind.body(query)
        began = time.perf_counter()
        connection.request(
            "POST", f"/v1/collections/{NAME}/search", body, {**headers, "content-type": "application/json"}
        )
        answer = connection.getresponse()
        told = answer.read()
        if number >= _WARM_UP:
            took_ms.append(1000 * (time.perf_counter() - began))
        if answer.status != 200 or not json.loads(told)["results"]:
            raise BenchError(f"A search was answered {answer.status}: {told[:300]!r}")
    connection.close()
    return took_ms


def _is_quick(times_ms: Sequence[float]) -> bool:
    return statistics.median(times_ms) <= P50_MS and percentile(times_ms, 95) <= P95_MS


def _lines(chunks: int, times: Mapping[str, Sequence[float]], recalls: Mapping[str, Recall]) -> Iterator[str]:
    head = f"{chunks:,} chunks, hybrid, over HTTP"
    yield f"{head:<44}{'p50 ms':>10}{'p95 ms':>10}{f'recall@{_CUT}':>12}{'by HNSW':>12}"
    for name, times_ms in times.items():
        p50, p95 = statistics.median(times_ms), percentile(times_ms, 95)
        recall = recalls[name]
        is_well = _is_quick(times_ms) and min(recall.memory, recall.index) >= RECALL
        verdict = "" if is_well else "  misses its target"
        yield f"  {name:<42}{p50:>10.1f}{p95:>10.1f}{recall.memory:>12.4f}{recall.index:>12.4f}{verdict}"
    yield f"  {'target':<42}{P50_MS:>10.1f}{P95_MS:>10.1f}{RECALL:>12.2f}{RECALL:>12.2f}"
