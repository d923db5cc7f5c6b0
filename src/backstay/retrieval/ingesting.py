"""Owns the taking in of documents: those that changed are cut, embedded and written, others cost nothing."""

import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, InvalidRequest
from backstay.core.ports import ModelCalls
from backstay.retrieval.analysis import Analyzer, detect
from backstay.retrieval.cutting import Cutting
from backstay.retrieval.embeddings import Embeddings, text_hash
from backstay.retrieval.store import ChunkRow, DocumentsMoved, GenerationsMoved, RetrievalStore, Witness
from backstay.retrieval.types import Collection, Hashes, Kept, Known, NewDocument, Piece
from backstay.store import Connection

INDEX_FROM = 5000
"""Chunks from which vectors have an index. Below, looking at each takes a few milliseconds, and misses none."""
_SAMPLE = 50
"""Documents by which a language is told."""

_log = logging.getLogger(__name__)


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What is written, in one transaction."""

    added: Sequence[str]
    """External ids."""
    changed: Sequence[str]
    chunks: Counter[str]
    """How many of each."""
    embedded: int


Tell = Callable[[Connection, Written], Awaitable[None]]


class _Write(msgspec.Struct, frozen=True, kw_only=True):
    """Documents that are to be written."""

    documents: Sequence[NewDocument]
    hashes: Hashes
    known: Known
    tell: Tell | None

    def witness(self, chunks: Sequence[ChunkRow], embedded: int) -> Witness | None:
        """Return what is to be done in the transaction that writes them."""
        tell = self.tell
        if tell is None:
            return None
        names = [each.external_id for each in self.documents]
        written = Written(
            added=[name for name in names if name not in self.known],
            changed=[name for name in names if name in self.known],
            chunks=Counter(chunk.external_id for chunk in chunks),
            embedded=embedded,
        )

        async def witness(connection: Connection) -> None:
            await tell(connection, written)

        return witness


class Ingest:
    """Takes documents in."""

    def __init__(self, store: RetrievalStore, embeddings: Embeddings, calls: ModelCalls):
        self._store = store
        self._embeddings = embeddings
        self._cutting = Cutting(store, embeddings, calls)
        self._analyzers: dict[str, Analyzer] = {}

    async def put(
        self, caller: Caller, name: str, documents: Sequence[NewDocument], tell: Tell | None = None
    ) -> Kept:  # fmt: skip
        """Keep documents in the place of those that have their external ids; all of them or none.

        ``tell`` is told what is written of which, within the transaction that writes it; nothing of what is unchanged.

        Raises:
            NotFound: There is no such collection, or it was deleted meanwhile.
            InvalidRequest: An external id comes twice.
            BackstayError: What the calls of the embedding model may end with. Nothing was written.
        """
        collection = await self._store.find(caller.tenant_id, name)
        _require_distinct(documents)
        documents = [_clean(document) for document in documents]
        hashes = {document.external_id: document.content_hash or hash_of(document) for document in documents}
        while True:
            known = await self._store.known(collection, list(hashes))
            changed = [each for each in documents if not _is_kept(known, hashes[each.external_id], each)]
            unchanged = len(documents) - len(changed)
            if not changed:
                return Kept(unchanged=unchanged)
            collection = await self._with_language(collection, changed)
            write = _Write(documents=changed, hashes=hashes, known=known, tell=tell)
            try:
                chunks, embedded = await self._write(caller, collection, write)
                break
            except DocumentsMoved:
                continue  # another ingest of the same documents was first: what it wrote is not written again
        added = sum(each.external_id not in known for each in changed)
        return Kept(added=added, changed=len(changed) - added, unchanged=unchanged, chunks=chunks, embedded=embedded)

    async def _write(self, caller: Caller, collection: Collection, write: "_Write") -> tuple[int, int]:
        """Write documents into every generation, and return how many chunks the live one got, and how many vectors
        were made. What another generation's model cannot do now is left to who builds it."""
        while True:
            live, *others = await self._store.generations(collection.tenant_id, collection.name)
            rows, embedded = await self.chunks(caller, live, write.documents)
            chunks: dict[int, list[ChunkRow] | None] = {live.generation: rows}
            for other in others:
                try:
                    chunks[other.generation], more = await self.chunks(caller, other, write.documents)
                    embedded += more
                except BackstayError as error:
                    _log.warning("%s: generation %d is to be built on: %s", live.name, other.generation, error.message)
                    chunks[other.generation] = None
            try:
                witness = write.witness(rows, embedded)
                await self._store.put(live, write.documents, write.hashes, chunks, witness, write.known)
            except GenerationsMoved:
                continue
            for each in (live, *others):
                await self._store.index_vectors(each, from_chunks=INDEX_FROM)
            return len(rows), embedded

    async def remove(self, tenant_id: str, name: str, external_id: str) -> None:
        """Delete a document, if it is there. Raises ``NotFound`` where there is no such collection."""
        await self._store.remove(await self._store.find(tenant_id, name), [external_id])

    async def wanted(self, tenant_id: str, name: str, hashes: Hashes) -> list[str]:
        """Return the external ids whose documents are not kept with the hash that is named. Raises ``NotFound``."""
        known = await self.known(tenant_id, name, list(hashes))
        return [each for each, told in hashes.items() if each not in known or known[each].content_hash != told]

    async def known(self, tenant_id: str, name: str, external_ids: Sequence[str]) -> Known:
        """Return what those of these documents that are kept are known by. Raises ``NotFound``."""
        return await self._store.known(await self._store.find(tenant_id, name), external_ids)

    async def _with_language(self, collection: Collection, documents: Sequence[NewDocument]) -> Collection:
        if collection.language != "auto":
            return collection
        language = detect([document.text for document in documents[:_SAMPLE]])
        await self._store.set_language(collection, language)
        return await self._store.find(collection.tenant_id, collection.name)

    async def chunks(
        self, caller: Caller, collection: Collection, documents: Sequence[NewDocument]
    ) -> tuple[list[ChunkRow], int]:
        """Cut and embed documents as a generation does, and return its chunks, and how many vectors were made.

        Raises:
            BackstayError: What the calls of its models may end with.
        """
        analyzer = self._analyzers.setdefault(collection.language, Analyzer(collection.language))
        chunks = await self._cutting.cut(caller, collection, documents)
        texts = [in_context(chunk.document, chunk.piece, chunk.context) for chunk in chunks]
        vectors, embedded = await self._embeddings.of_texts(caller, collection, texts)
        rows = [
            ChunkRow(
                external_id=chunk.document.external_id,
                ordinal=chunk.ordinal,
                starts_at=chunk.piece.start,
                ends_at=chunk.piece.end,
                page=chunk.piece.page,
                heading=chunk.piece.heading,
                text_hash=text_hash(text),
                terms=" ".join(analyzer.terms(text)),
                principals=chunk.document.principals,
                embedding=vector,
                parent=chunk.piece.parent,
                head=chunk.piece.head,
                memo=chunk.memo,
            )
            for chunk, text, vector in zip(chunks, texts, vectors, strict=True)
        ]
        return rows, embedded


def in_context(document: NewDocument, piece: Piece, context: str = "") -> str:
    """Return what is embedded and indexed of a chunk.

    Its text under its document's title, its headings, the head of the table that it begins within, and what a model
    wrote on where it stands.
    """
    above = " ".join(part for part in (document.title.replace("_", " "), piece.heading) if part)
    text = document.text[piece.start : piece.end]
    if piece.head is not None:
        text = f"{document.text[slice(*piece.head)]}\n{text}"
    told = text if not above or text.startswith(above) else f"{above}\n{text}"
    return f"{context}\n{told}" if context else told


def hash_of(document: NewDocument) -> str:
    """Return the hash by which a document is known to be unchanged."""
    told = msgspec.structs.replace(document, content_hash=None)
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


def _is_kept(known: Known, content_hash: str, document: NewDocument) -> bool:
    kept = known.get(document.external_id)
    return kept is not None and kept.is_of(content_hash, document)


def _clean(document: NewDocument) -> NewDocument:
    """Replace what Postgres takes in no text: the character NUL, and halves of characters."""
    text, title = (
        each.replace("\x00", "\ufffd").encode("utf-8", "replace").decode() for each in (document.text, document.title)
    )
    return msgspec.structs.replace(document, text=text, title=title)


def _require_distinct(documents: Sequence[NewDocument]) -> None:
    seen: set[str] = set()
    for place, document in enumerate(documents):
        if document.external_id in seen:
            raise InvalidRequest(
                f"The external id {document.external_id!r} comes twice. Send each document once.",
                param=f"documents[{place}].external_id",
            )
        seen.add(document.external_id)
