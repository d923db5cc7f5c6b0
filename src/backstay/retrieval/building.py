"""Owns the building of generations beside the live ones: from the documents that are kept, a few at a time.

What was written stays written: who goes on after a kill begins where the last transaction ended.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, NotFound, StoreUnavailable
from backstay.retrieval.generation_store import Claimed, GenerationStore, Missing
from backstay.retrieval.ingesting import INDEX_FROM, Ingest
from backstay.retrieval.store import RetrievalStore

CallerOf = Callable[[str, str], Awaitable[Caller]]
"""Says who the key of a tenant makes its holder, now. Raises ``Unauthenticated`` or ``StoreUnavailable``."""

_AT_ONCE = 64
_CHARS_AT_ONCE = 400_000
_PAUSE_S = 30.0
"""After a fault of the embedding model, or of the key that pays for it."""

_log = logging.getLogger(__name__)


class Builder:
    """Builds the generations of one installation."""

    def __init__(
        self, generations: GenerationStore, store: RetrievalStore, ingest: Ingest, caller_of: CallerOf, *, owner: str
    ):
        self._generations = generations
        self._store = store
        self._ingest = ingest
        self._caller_of = caller_of
        self._owner = owner

    async def run_once(self) -> bool:
        """Build on one generation by some documents; ``False`` if none is to be built.

        Raises:
            StoreUnavailable: Postgres does not answer.
        """
        claimed = await self._generations.claim(self._owner)
        if claimed is None:
            return False
        try:
            await self._build_on(claimed)
        except NotFound:
            _log.info("%s: generation %d is gone", claimed.collection, claimed.generation)
        except StoreUnavailable:
            raise
        except BackstayError as error:
            _log.warning("%s: building generation %d rests: %s", claimed.collection, claimed.generation, error.message)
            await self._generations.fail(claimed, error.message, pause_s=error.retry_after_s or _PAUSE_S)
        return True

    async def _build_on(self, claimed: Claimed) -> None:
        missing = _as_many_as_fit(await self._generations.missing(claimed, limit=_AT_ONCE))
        if not missing:
            if await self._generations.built(claimed):
                _log.info("%s: generation %d is built", claimed.collection, claimed.generation)
            return
        generations = await self._store.generations(claimed.tenant_id, claimed.collection)
        place = next((each for each in generations if each.generation == claimed.generation), None)
        if place is None:
            raise NotFound
        caller = await self._caller_of(claimed.tenant_id, claimed.key_id)
        caller = msgspec.structs.replace(caller, priority="batch")
        chunks, _ = await self._ingest.chunks(caller, place, [each.document for each in missing])
        await self._generations.fill(place, missing, chunks)
        await self._store.index_vectors(place, from_chunks=INDEX_FROM)


def _as_many_as_fit(missing: Sequence[Missing]) -> list[Missing]:
    """Take the first ones, one at least, whose texts are not too long together."""
    taken: list[Missing] = []
    size = 0
    for each in missing:
        size += len(each.document.text)
        if taken and size > _CHARS_AT_ONCE:
            break
        taken.append(each)
    return taken
