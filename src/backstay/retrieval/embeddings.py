"""Owns vectors of texts: made by the collection's embedding model in batches, and not twice for an equal text."""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
import numpy as np

from backstay.core.caller import Caller
from backstay.core.errors import ProviderError
from backstay.core.ports import ModelCalls
from backstay.retrieval.store import RetrievalStore, Vector, literal
from backstay.retrieval.types import Collection

BATCH = 64
"""Texts a call."""
_QUERIES_KEPT = 4096


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class Embeddings:
    """Makes vectors for one worker, and remembers those of the last queries."""

    def __init__(self, calls: ModelCalls, store: RetrievalStore):
        self._calls = calls
        self._store = store
        self._queries: OrderedDict[tuple[str, str, str], Vector] = OrderedDict()

    async def of_texts(self, caller: Caller, collection: Collection, texts: Sequence[str]) -> tuple[list[str], int]:
        """Return the vectors of texts as pgvector reads them, and how many had to be made.

        Raises:
            BackstayError: The model call was refused or failed. What was made before is lost.
        """
        hashes = [text_hash(text) for text in texts]
        found = await self._store.vectors_of_texts(collection, list(dict.fromkeys(hashes))) if texts else {}
        missing = list({each: text for each, text in zip(hashes, texts, strict=True) if each not in found}.items())
        missing.sort(key=lambda pair: len(pair[1]))  # texts of like length share a batch with little padding
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            vectors = await self._embed(caller, collection, [text for _, text in batch])
            found |= {each: literal(vector) for (each, _), vector in zip(batch, vectors, strict=True)}
        return [found[each] for each in hashes], len(missing)

    async def of_query(self, caller: Caller, collection: Collection, text: str) -> Vector:
        """Return the vector of a query. Raises as ``of_texts``."""
        place = (collection.tenant_id, collection.embedding_model, text)
        if (known := self._queries.get(place)) is not None:
            self._queries.move_to_end(place)
            return known
        (vector,) = await self._embed(caller, collection, [text])
        self._queries[place] = vector
        if len(self._queries) > _QUERIES_KEPT:
            self._queries.popitem(last=False)
        return vector

    async def of_parts(self, caller: Caller, collection: Collection, texts: Sequence[str]) -> list[Vector]:
        """Return the vectors of texts that are no chunks; they are not kept. Raises as ``of_texts``."""
        vectors: list[Vector] = []
        for start in range(0, len(texts), BATCH):
            vectors += await self._embed(caller, collection, texts[start : start + BATCH])
        return vectors

    def remembered(self, collection: Collection, text: str) -> Vector | None:
        """Return the vector of a query that was embedded a moment ago; ``None``: it was not, or is forgotten."""
        return self._queries.get((collection.tenant_id, collection.embedding_model, text))

    async def _embed(self, caller: Caller, collection: Collection, texts: Sequence[str]) -> list[Vector]:
        model = collection.embedding_model
        body = {"model": model, "input": [text or " " for text in texts], "encoding_format": "base64"}
        answer = await self._calls.make(collection.payer(caller), "embeddings", body)
        try:
            items = sorted(msgspec.json.decode(answer.body, type=_Answer).data, key=lambda item: item.index)
            vectors = [_unit(item.embedding) for item in items]
        except (msgspec.DecodeError, ValueError):
            raise ProviderError(f"The embedding model {model} gave what are no vectors.") from None
        if len(vectors) != len(texts):
            raise ProviderError(f"The embedding model {model} gave {len(vectors)} vectors for {len(texts)} texts.")
        return vectors


def text_hash(text: str) -> bytes:
    """Return what a text's vector is known by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _unit(told: str | list[float]) -> Vector:
    vector = (
        np.frombuffer(base64.b64decode(told), dtype="<f4")
        if isinstance(told, str)
        else np.array(told, dtype=np.float32)
    )
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise ValueError("a vector needs a direction")
    return (vector / length).astype(np.float32)
