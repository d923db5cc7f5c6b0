"""Owns what a worker remembers of queries until it is written, aside from searches: a search waits for none of it."""

import asyncio
import logging

from backstay.core.errors import StoreUnavailable
from backstay.retrieval.generation_store import MOST_RECENT, GenerationStore
from backstay.retrieval.types import Collection, Query

_EVERY_S = 2.0
_LONGEST = 2000

_log = logging.getLogger(__name__)


class RecentQueries:
    """The last queries of one worker that are not written yet."""

    def __init__(self, generations: GenerationStore, *, keeps_texts: bool):
        """Begin. ``keeps_texts``: whether what people ask is kept at all."""
        self._generations = generations
        self._keeps_texts = keeps_texts
        self._heard: list[tuple[Collection, Query]] = []

    def hear(self, collection: Collection, query: Query) -> None:
        """Remember a query, unless there are many to be written already."""
        if self._keeps_texts and len(self._heard) < MOST_RECENT and len(query.text) <= _LONGEST:
            self._heard.append((collection, query))

    async def run(self) -> None:
        """Write what was heard, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write what was heard so far."""
        heard, self._heard = self._heard, []
        if not heard:
            return
        try:
            await self._generations.note_queries(heard)
        except StoreUnavailable as error:
            _log.info("%d queries are not remembered: %s", len(heard), error.message)
