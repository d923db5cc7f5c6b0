"""Owns what is remembered of each search and answer, by which quality is watched: nobody waits for it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backstay.core.errors import StoreUnavailable
from backstay.retrieval.embeddings import Embeddings
from backstay.retrieval.quality_store import AskRow, QualityStore
from backstay.retrieval.types import Collection, Found, Query

_EVERY_S = 2.0
_MOST_WAITING = 5000
_LONGEST = 2000

_log = logging.getLogger(__name__)


@dataclass
class Ask:
    """A search, or a question until it is known whether it was answered."""

    row: AskRow
    is_noted: bool = False


class Asks:
    """The asks of one worker that are not written yet."""

    def __init__(self, store: QualityStore, embeddings: Embeddings, *, keeps_texts: bool):
        """Begin. ``keeps_texts``: whether what people ask is kept, and its vector, which tells of it."""
        self._store = store
        self._embeddings = embeddings
        self._keeps_texts = keeps_texts
        self._waiting: list[Ask] = []

    def of(self, collection: Collection, query: Query, hits: Sequence[Found]) -> Ask:
        """Describe a search by what it found."""
        vector = self._embeddings.remembered(collection, query.text) if self._keeps_texts else None
        return Ask(
            AskRow(
                tenant_id=collection.tenant_id,
                collection=collection.name,
                generation=collection.generation,
                results=len(hits),
                relevance=hits[0].relevance if hits else None,
                abstained=None,
                direction=None if vector is None else vector.astype(np.float16).tobytes(),
                query=query.text[:_LONGEST] if self._keeps_texts else None,
            )
        )

    def note(self, ask: Ask, abstained: bool | None = None) -> None:
        """Remember it; once more for the same one only corrects whether it was answered."""
        ask.row.abstained = abstained
        if not ask.is_noted and len(self._waiting) < _MOST_WAITING:
            self._waiting.append(ask)
        ask.is_noted = True

    async def run(self) -> None:
        """Write what was noted, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write what was noted so far."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            await self._store.note_asks([ask.row for ask in waiting])
        except StoreUnavailable as error:
            _log.info("%d searches are not remembered: %s", len(waiting), error.message)
