"""Owns the checks of semantic hits: for a share of them the model is asked too, and the two answers are compared.

The caller has their answer by then, and is told nothing. The check is a call of its own: admitted by the caller's
limits, priced, and recorded beneath the hit in its trace, marked ``backstay.cache.shadow``. Its answer is kept for the
question as it was asked, so what was paid for is of use.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from backstay.cache import Cache, Directives, Hit
from backstay.cache.pairs import text_of
from backstay.core.errors import BackstayError
from backstay.gateway.recording import Recording
from backstay.gateway.types import Incoming, Sink
from backstay.gateway.whole_answer import WholeAnswer
from backstay.providers import DIALECTS

_MOST_AT_ONCE = 4
"""Of one worker. A check beyond is left out: it is a sample, and callers come first."""

_log = logging.getLogger(__name__)

Verdict = Literal["same", "different", "unsure", "failed", "skipped"]
"""``failed``: the model gave no answer, or the pair could not be kept. ``skipped``: there was no room."""


class Shadows:
    """The checks of one worker."""

    def __init__(self, call: Callable[[Incoming, Sink], Awaitable[None]], cache: Cache, chance: random.Random):
        """Args: ``call``: takes one model call from admission to its record."""
        self.counts: dict[Verdict, int] = {"same": 0, "different": 0, "unsure": 0, "failed": 0, "skipped": 0}
        self._call = call
        self._cache = cache
        self._chance = chance
        self._open: set[asyncio.Task[None]] = set()

    def consider(self, recording: Recording, hit: Hit) -> None:
        """Check a semantic hit by and by, if its lot falls."""
        request = recording.request
        if hit.asked is None or request is None or request.model.cache is None:
            return
        if self._chance.random() >= request.model.cache.shadow:
            return
        if len(self._open) >= _MOST_AT_ONCE:
            self.counts["skipped"] += 1
            return
        task = asyncio.create_task(self._check(recording, hit), name="shadow check")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def settled(self) -> None:
        """Wait until the checks that are open have ended."""
        await asyncio.gather(*self._open)

    async def stop(self) -> None:
        """Cut the open checks off; what they cost is recorded."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _check(self, recording: Recording, hit: Hit) -> None:
        try:
            self.counts[await self._compare(recording, hit)] += 1
        except (BackstayError, TimeoutError) as error:
            self.counts["failed"] += 1
            _log.warning("A semantic hit could not be checked: %r", error)

    async def _compare(self, recording: Recording, hit: Hit) -> Verdict:
        """Ask the model, and keep what the two answers show of the two questions."""
        sink = WholeAnswer()
        await self._call(_asked_anew(recording), sink)
        if sink.status != 200 or b"x-backstay-degraded" in sink.headers:
            return "failed"
        kept = text_of(DIALECTS[hit.answer.dialect].read_response(hit.answer.body))
        told = text_of(recording.incoming.dialect.read_response(sink.body))
        if not kept or not told:
            return "unsure"
        assert recording.request is not None
        same = await self._cache.add_check(
            hit,
            (kept, told),
            tenant_id=recording.incoming.caller.tenant_id,
            model=recording.request.model.name,
            feature=recording.incoming.feature,
            trace_id=recording.trace_id,
        )
        return "unsure" if same is None else "same" if same else "different"


def _asked_anew(recording: Recording) -> Incoming:
    """Write the call that had the hit again, as one that the cache does not answer and that is not streamed."""
    assert recording.request is not None
    fields = {k: v for k, v in recording.request.fields.items() if k not in ("stream", "stream_options")}
    return msgspec.structs.replace(
        recording.incoming,
        body=msgspec.json.encode(fields),
        cache_control=Directives(no_cache=True),
        idempotency_key=None,
        deadline_s=None,
        trace_id=recording.trace_id,
        parent_id=recording.call_id,
        is_shadow=True,
    )
