"""Owns the cache of one worker: recall an answer, or lead the one call that everybody who asks the same waits for."""

import asyncio
import datetime as dt
import logging
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from backstay.cache.config import CacheConfig
from backstay.cache.flights import Flight, carry
from backstay.cache.keeper import Keeper
from backstay.cache.memory import Kept, Memory
from backstay.cache.notices import CHANNEL, Notices
from backstay.cache.pairs import Pair, Wrong
from backstay.cache.semantic import Semantics
from backstay.cache.store import CacheGroup, CacheStore
from backstay.cache.tally import Tallies
from backstay.cache.types import Answer, Ask, Hit, HitKind, Purge
from backstay.core.chat import ChatResponse, FinishReason, Refusal
from backstay.core.clock import Clock
from backstay.core.errors import BackstayError, NotCached
from backstay.core.ids import new_id
from backstay.core.money import NanoUSD
from backstay.core.ports import Embedder
from backstay.core.usage import Usage
from backstay.store import Database

_log = logging.getLogger(__name__)

_GOOD_ENDS: frozenset[FinishReason] = frozenset({"stop", "stop_sequence", "length", "tool_calls"})
"""How an answer ends that is worth keeping. Not: filtered, refused, paused or broken off."""

_LOOK_AGAIN_S = 1.0
"""How often a worker that waits for another one looks by itself, should the notification be lost."""

_RECALIBRATE_S = 3600.0
"""How often what use itself showed is taken in."""

_FIRST_SULK_S, _LONGEST_SULK_S = 0.25, 5.0
"""How long Postgres is not asked after it did not answer, at first and at most: a single slow answer is no outage."""


class Cache:
    """The answers that one worker knows, in front of those that all workers share."""

    def __init__(self, database: Database, clock: Clock, *, memory_bytes: int, embedder: Embedder | None = None):
        """Args: ``embedder``: what questions are compared by; ``None``: only equal requests share an answer."""
        self.memory = Memory(memory_bytes)
        self._database = database
        self._clock = clock
        self._store = CacheStore(database, new_id("wrk"))
        self.tallies = Tallies()
        self.joins: dict[str, int] = {}
        """Calls that waited for an equal one's answer, by model, since the worker began."""
        self.purges = 0
        """Purges that were asked for here, and how many shared answers went."""
        self.purged = 0
        self.semantics = Semantics(self._store, embedder) if embedder is not None else None
        self.keeper = Keeper(self._store, self.tallies, clock)
        self._flights: dict[bytes, Flight] = {}
        self._notices = Notices(self.memory, self.keeper)
        self._sulks_until_ns = 0
        self._next_sulk_s = _FIRST_SULK_S
        self._semantic: Mapping[str, CacheConfig] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """Why the semantic cache is off for everybody, of models whose policy wants it, by model."""
        return self.semantics.calibrations.problems if self.semantics is not None else {}

    def problems_of(self, tenant_id: str) -> dict[str, str]:
        """Say why the semantic cache is off for a tenant, of models whose policy wants it, by model."""
        if self.semantics is None:
            return {}
        found = {model: self.semantics.calibrations.problem_of(model, tenant_id) for model in self._semantic}
        return {model: problem for model, problem in found.items() if problem is not None}

    def start(self) -> None:
        """Follow what other workers keep and purge."""
        self._database.listen(CHANNEL, self._notices.on_event, on_gap=self._notices.on_gap)

    async def run(self) -> None:
        """Write behind the calls' backs, and calibrate anew now and then, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keeper.run())
            tasks.create_task(self._recalibrate())

    async def _recalibrate(self) -> None:
        """Take in what checks and corrections showed since."""
        while True:
            await asyncio.sleep(_RECALIBRATE_S)
            if self.semantics is None or not self._semantic:
                continue
            try:
                await self.semantics.calibrations.prepare(self._semantic, again=True)
            except Exception as error:  # noqa: BLE001 - what goes wrong here must not end the writing beside it
                _log.warning("The semantic cache could not be calibrated anew: %r", error)

    async def stop(self, limit_s: float = 2.0) -> None:
        """Write what waits, as far as that goes in a moment: what is lost is asked for again."""
        with suppress(TimeoutError, BackstayError):
            async with asyncio.timeout(limit_s):
                await self.keeper.flush()

    async def adopt(self, configs: Mapping[str, CacheConfig]) -> None:
        """Take over the policy in force, by model. Where models are to be calibrated, that takes its time."""
        self.keeper.bounds = {model: config.max_bytes for model, config in configs.items() if config.exact}
        self._semantic = {model: config for model, config in configs.items() if config.semantic}
        if self.semantics is not None:
            await self.semantics.calibrations.prepare(self._semantic)

    async def recall(self, ask: Ask) -> "Hit | Lead":
        """Find the answer to a question, or become the one who asks the model. Waits while somebody else asks.

        Raises:
            NotCached: Only a kept answer was wanted.
            BackstayError: Somebody else asked, failed, and to ask again would fail as well.
        """
        if ask.directives.no_cache:
            return Lead(self, ask, None)
        kept = self.memory.get(ask.key, self._clock.now_ns())
        if kept is not None and self._is_fresh(ask, kept.answer):
            return self._hit(ask, kept.answer)
        if ask.directives.only_if_cached:
            return await self._kept_only(ask)
        flight = self._flights.get(ask.key)
        if flight is not None and ask.policy.wait_s > 0:
            self.joins[ask.model] = self.joins.get(ask.model, 0) + 1
            turn = await flight.follow()
            if turn != "lead":
                return self._hit(ask, *turn) if self._is_fresh(ask, turn[0]) else Lead(self, ask, None)
            flight.take_off(ask.policy.wait_s)
            return Lead(self, ask, flight)
        return await self._take_off(ask)

    async def stats(self, tenant_id: str, *, since: dt.date, model: str | None = None) -> list[CacheGroup]:
        """Add up what is kept now and how often it helped since a day. Raises ``StoreUnavailable``."""
        return await self._store.stats(tenant_id, since=since, model=model)

    async def purge(self, purge: Purge) -> int:
        """Delete answers, here and on every worker, and return how many were shared. Raises ``StoreUnavailable``."""
        self._notices.purge(purge)
        gone = await self._store.purge(purge)
        self._notices.purge(purge)
        self.purges += 1
        self.purged += gone
        return gone

    async def purge_like(self, tenant_id: str, text: str) -> int:
        """Delete the answers to questions near a text, such as one whose answer was corrected. Returns how many went.

        Wide on purpose: what goes for nothing is asked again. 0 where questions are not compared.

        Raises:
            StoreUnavailable: Postgres does not answer.
            ProviderError: The embedding model does not answer.
        """
        keys = await self.semantics.alike(tenant_id, text) if self.semantics is not None else ()
        return await self.purge(Purge(tenant_id=tenant_id, keys=keys)) if keys else 0

    async def add_check(
        self, hit: Hit, answers: tuple[str, str], *, tenant_id: str, model: str, feature: str | None, trace_id: str
    ) -> bool | None:
        """Compare the answer of a semantic hit with the model's own, and keep what that shows of the questions.

        Returns:
            Whether they say the same; ``None`` where that cannot be told.

        Raises:
            StoreUnavailable: Postgres does not answer. Nothing is kept.
            ProviderError: The embedding model does not answer. Nothing is kept.
        """
        assert self.semantics is not None, "else there was no such hit"
        same, similarity = await self.semantics.compare(answers)
        pair = _pair(hit.question, hit.asked, model=model, feature=feature, trace_id=trace_id)
        pair = msgspec.structs.replace(pair, same=same, source="shadow", similarity=similarity)
        await self._store.add_pair(tenant_id, pair)
        return same

    async def pairs(self, tenant_id: str, *, model: str | None = None, limit: int = 1000) -> list[Pair]:
        """List what checks and corrections showed, the newest first. Raises ``StoreUnavailable``."""
        return await self._store.pairs(tenant_id, model=model, limit=limit)

    async def correct(self, tenant_id: str, wrong: Wrong) -> int:
        """Let go of a wrong answer, and of those to questions like the one that had it. Returns how many went.

        Where it was a semantic hit, the two questions become a pair that may not share an answer.

        Raises:
            StoreUnavailable: Postgres does not answer.
            ProviderError: The embedding model does not answer.
        """
        if wrong.asked is not None and wrong.kept is not None:
            pair = _pair(wrong.kept, wrong.asked, model=wrong.model, feature=wrong.feature, trace_id=wrong.trace_id)
            await self._store.add_pair(tenant_id, pair)
        gone = await self.purge(Purge(tenant_id=tenant_id, trace_id=wrong.origin_id))
        return gone + (await self.purge_like(tenant_id, wrong.asked) if wrong.asked is not None else 0)

    async def _take_off(self, ask: Ask) -> "Hit | Lead":
        """Be the first who asks: look what other workers know, then lead."""
        flight = Flight(self._flights, ask.key)
        if ask.policy.wait_s > 0:
            self._flights[ask.key] = flight
        purges = self._notices.purges
        try:
            found = await self._shared(ask)
        except BaseException:
            flight.is_claimed = True  # it may be: who was cut off in the middle does not know
            self.fail(ask, flight, None)
            raise
        if isinstance(found, Answer):
            if purges == self._notices.purges:
                self.memory.put(Kept.of(ask, found))
            flight.succeed(found)
            return self._hit(ask, found)
        flight.is_claimed = found
        try:
            similar, vector = await self._similar(ask)
        except BaseException:
            self.fail(ask, flight, None)
            raise
        if similar is not None:
            flight.succeed(similar.answer, "semantic")
            self._release(ask, flight)
            return similar
        flight.take_off(ask.policy.wait_s)
        return Lead(self, ask, flight, vector)

    async def _similar(self, ask: Ask) -> tuple[Hit | None, tuple[float, ...]]:
        """Look for an answer to a question of the same meaning. Returns the question's embedding too, to be kept."""
        if self.semantics is None or not self.semantics.is_on(ask):
            return None, ()
        vector = await self.semantics.embed(ask)
        if not vector:
            return None, ()
        try:
            found = await self.semantics.find(ask, vector)
        except Exception as error:  # noqa: BLE001 - the edge of the cache: what goes wrong here must not fail a call
            self._sulk(error)
            return None, vector
        if found is None or not self._is_fresh(ask, found.answer):
            return None, vector
        hit = self._hit(ask, found.answer, "semantic")
        return msgspec.structs.replace(hit, score=found.score, question=found.question, asked=ask.question), vector

    def _sulk(self, error: Exception) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._sulks_until_ns:
            return  # others were under way, and did no better
        _log.warning("the shared cache is left out for %.2g s: %r", self._next_sulk_s, error)
        self._sulks_until_ns = now_ns + int(self._next_sulk_s * 1e9)
        self._next_sulk_s = min(2 * self._next_sulk_s, _LONGEST_SULK_S)

    async def _shared(self, ask: Ask) -> Answer | bool:
        """Look into Postgres, and wait while another worker asks the same. False: Postgres or the other took too long.

        What goes wrong there is no reason to fail a call: the model is asked.
        """
        if self._clock.monotonic_ns() < self._sulks_until_ns:
            return False
        loop = asyncio.get_running_loop()
        give_up = loop.time() + ask.policy.wait_s
        try:
            with self._notices.expect(ask.key) as notice:
                while True:
                    found = await self._store.find_or_claim(ask)
                    self._next_sulk_s = _FIRST_SULK_S
                    if isinstance(found, Answer):
                        return found if self._is_fresh(ask, found) else False
                    left_s = give_up - loop.time()
                    if found or left_s <= 0:
                        return found
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(left_s, _LOOK_AGAIN_S)):
                            await notice.wait()
                    notice.clear()
        except Exception as error:  # noqa: BLE001 - the edge of the cache, see above
            self._sulk(error)
            return False

    async def _kept_only(self, ask: Ask) -> Hit:
        try:
            found = await self._store.find(ask)
        except BackstayError:
            found = None
        if found is None or not self._is_fresh(ask, found):
            raise NotCached
        return self._hit(ask, found)

    async def find_stale(self, ask: Ask, flight: Flight | None) -> Hit | None:
        """Find an answer that may have expired, for a question that no target answers; all who wait get it too."""
        if not ask.policy.stale_s or ask.directives.no_cache:
            return None
        kept = self.memory.get_stale(ask.key, self._clock.now_ns())
        found = kept.answer if kept is not None else await self._shared_stale(ask)
        if found is None or not self._is_fresh(ask, found):
            return None
        if flight is not None:
            flight.succeed(found, "stale")
        self._release(ask, flight)
        return self._hit(ask, found, "stale")

    async def _shared_stale(self, ask: Ask) -> Answer | None:
        if self._clock.monotonic_ns() < self._sulks_until_ns:
            return None
        try:
            return await self._store.find_stale(ask)
        except Exception as error:  # noqa: BLE001 - the edge of the cache, see above
            self._sulk(error)
            return None

    def _is_fresh(self, ask: Ask, answer: Answer) -> bool:
        limit_s = ask.directives.max_age_s
        return limit_s is None or self._age_s(answer) <= limit_s

    def _age_s(self, answer: Answer) -> int:
        return max(0, (self._clock.now_ns() - answer.created_ns) // 1_000_000_000)

    def _hit(self, ask: Ask, answer: Answer, kind: HitKind = "hit") -> Hit:
        if kind != "stale":  # it saved nothing: the model was asked, and did not answer
            self.tallies.count(
                kind, ask.tenant_id, ask.model, ask.feature, at_ns=self._clock.now_ns(), saved=answer.cost_nanousd
            )
        return Hit(answer=answer, kind=kind, age_s=self._age_s(answer))

    def settle(
        self, ask: Ask, flight: Flight | None, answer: Answer, vector: tuple[float, ...], *, worth_keeping: bool
    ) -> None:
        """Give a leader's answer to all who wait, and keep it where it is worth that."""
        self.tallies.count("miss", ask.tenant_id, ask.model, ask.feature, at_ns=self._clock.now_ns(), saved=None)
        if flight is not None:
            flight.succeed(answer)
        if worth_keeping and len(answer.body) <= ask.policy.max_answer_bytes:
            kept = Kept.of(ask, answer)
            self.memory.put(kept)
            self.keeper.put(
                msgspec.structs.replace(kept, context=ask.context, question=ask.question or "", vector=vector)
            )
        self._release(ask, flight)

    def fail(self, ask: Ask, flight: Flight | None, error: BackstayError | None) -> None:
        """Let the next in line lead, or give the question up."""
        if flight is None:
            return
        flight.fail(error)
        if flight.has_landed:
            self._release(ask, flight)

    def _release(self, ask: Ask, flight: Flight | None) -> None:
        if flight is not None and flight.is_claimed:
            flight.is_claimed = False
            self.keeper.release(ask.tenant_id, ask.key)

    def lifetime(self, ask: Ask) -> tuple[int, int, int]:
        """Return when an answer that comes now was made, expires and is let go, in nanoseconds since the epoch."""
        now_ns = self._clock.now_ns()
        expires_ns = now_ns + ask.policy.ttl_s * 1_000_000_000
        return now_ns, expires_ns, expires_ns + ask.policy.stale_s * 1_000_000_000 if ask.policy.stale_s else 0


def _pair(kept: str | None, asked: str | None, *, model: str, feature: str | None, trace_id: str) -> Pair:
    """Build the pair of a hit that was wrong."""
    return Pair(
        id=new_id("pair"),
        model=model,
        feature=feature,
        kept=kept or "",
        asked=asked or "",
        same=False,
        source="correction",
        similarity=None,
        trace_id=trace_id,
        created_at=dt.datetime.now(dt.UTC),
    )


class Lead:
    """The duty to ask the model for all who ask the same. It must end in ``keep`` or ``fail``; the first counts."""

    def __init__(self, cache: Cache, ask: Ask, flight: Flight | None, vector: tuple[float, ...] = ()):
        self._cache = cache
        self._ask = ask
        self._flight = flight
        self._vector = vector
        self._ended = False

    @property
    def followers(self) -> int:
        """How many wait for the answer now."""
        return self._flight.followers if self._flight else 0

    def keep(
        self,
        body: bytes,
        response: ChatResponse | None,
        *,
        dialect: str,
        usage: Usage,
        target: str,
        trace_id: str,
        cost_nanousd: NanoUSD | None,
    ) -> None:
        """Hand a whole answer in: it is given to all who wait, and kept where it is good.

        Args:
            body: The answer on the wire of the dialect, as it would be were it not streamed.
            response: The same in neutral form; ``None`` for embeddings.
            target: Who gave it: ``provider/model``.
            cost_nanousd: What it cost; ``None`` where that is unknown.
        """
        if self._ended:
            return
        self._ended = True
        created_ns, expires_ns, keep_until_ns = self._cache.lifetime(self._ask)
        answer = Answer(
            dialect=dialect,
            body=body,
            usage=usage,
            target=target,
            trace_id=trace_id,
            cost_nanousd=cost_nanousd,
            created_ns=created_ns,
            expires_ns=expires_ns,
            keep_until_ns=keep_until_ns,
        )
        is_good = response is None or _is_good(response)
        self._cache.settle(self._ask, self._flight, answer, self._vector, worth_keeping=is_good)

    def fail(self, error: BackstayError | None = None) -> None:
        """Say that no answer comes of it. ``None``: the caller went away."""
        if not self._ended:
            self._ended = True
            self._cache.fail(self._ask, self._flight, error)

    async def find_stale(self) -> Hit | None:
        """Find an answer that may have expired, to be given as no target answers. The duty ends with one."""
        if self._ended:
            return None
        found = await self._cache.find_stale(self._ask, self._flight)
        self._ended = found is not None
        return found

    async def carry(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the call so that it goes on without its caller while others wait for it.

        Raises:
            asyncio.CancelledError: The caller went away.
        """
        if self._flight is None:
            await work
            return
        try:
            await carry(self._flight, work)
        except asyncio.CancelledError:
            if not self._flight.is_abandoned:
                self.fail()  # work that was cancelled before it began could not say so
            raise


def _is_good(response: ChatResponse) -> bool:
    """Whether an answer is whole, and not a refusal."""
    return bool(response.choices) and all(
        choice.finish_reason in _GOOD_ENDS and not any(isinstance(part, Refusal) for part in choice.parts)
        for choice in response.choices
    )
