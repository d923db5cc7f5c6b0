"""Owns the keeping of conversations: written before the caller knows of them, also while Postgres is away."""

import asyncio
import logging
from collections import OrderedDict

import msgspec

from backstay.conversations.store import ConversationStore
from backstay.conversations.types import DAYS, MAX_BYTES, MAX_TURNS, Turn
from backstay.core.caller import Caller
from backstay.core.clock import Clock
from backstay.core.errors import InvalidRequest, NotFound, PreviousResponseNotFound, StoreUnavailable
from backstay.core.ids import new_span_id
from backstay.store import Database, Journal, JournalFull

WRITE_LIMIT_S = 1.0
"""How long an answer waits for Postgres to take its turn."""

AWAY_S = 2.0
"""For how long Postgres is not tried again after it failed to take a turn."""

PENDING_BYTES = 64 * 1024 * 1024
"""Texts of turns that wait in memory for the journal to be shipped; the oldest are let go."""

_LOOK_S = 1.0
_SWEEP_S = 3600.0

_log = logging.getLogger(__name__)


class Conversations:
    """The conversations of all tenants, as one worker sees them.

    A turn is in Postgres before the caller gets the answer's last byte, so that any worker can go on from it. While
    Postgres is away it goes into the journal instead: it is not lost, this worker can go on from it at once, and others
    when it is shipped.
    """

    def __init__(self, database: Database, journal: Journal, clock: Clock):
        self._store = ConversationStore(database)
        self._journal = journal
        self._clock = clock
        self._pending: OrderedDict[tuple[str, str], Turn] = OrderedDict()
        """Turns in the journal that may not be in Postgres yet, by tenant and id."""
        self._pending_bytes = 0
        self._retry_ns = 0

    async def keep(self, caller: Caller, turn: Turn) -> None:
        """Write a turn. Never raises: where neither Postgres nor the journal takes it, the log says so."""
        if self._clock.monotonic_ns() >= self._retry_ns:
            try:
                await self._store.keep(caller.tenant_id, turn, timeout_s=WRITE_LIMIT_S)
                return
            except StoreUnavailable:
                self._retry_ns = self._clock.monotonic_ns() + round(AWAY_S * 1e9)
            except Exception as error:  # noqa: BLE001
                # The edge of a finished answer: whatever Postgres thinks of its text, it goes to the caller. The
                # error's own text may quote the text.
                _log.error("Response %s cannot be kept: %s", turn.response_id, type(error).__name__)
                return
        self._keep_in_journal(caller.tenant_id, turn)

    def _keep_in_journal(self, tenant_id: str, turn: Turn) -> None:
        about = {"response_id": turn.response_id, "key_id": turn.key_id, "days": DAYS}
        about |= {"previous_id": turn.previous_id, "target": turn.target}
        document = msgspec.json.encode({"tenant_id": tenant_id, "turn": about})
        texts = [(turn.said or "").encode(), (turn.response or "").encode()]
        try:
            self._journal.append("call", bytes.fromhex(new_span_id()), [document, *texts])
        except JournalFull:
            _log.error("Response %s is not kept: neither Postgres nor the journal takes it.", turn.response_id)
            return
        self._pending[tenant_id, turn.response_id] = turn
        self._pending_bytes += turn.size_bytes
        while self._pending_bytes > PENDING_BYTES:
            self._pending_bytes -= self._pending.popitem(last=False)[1].size_bytes

    async def follow(self, caller: Caller, response_id: str) -> list[Turn]:
        """Return the turns of a conversation up to a response, the oldest first.

        The first of them may be one that a provider keeps: what was before it, the provider knows.

        Raises:
            PreviousResponseNotFound: There is no such response for this caller, or one that it went on from is gone.
            InvalidRequest: The conversation is longer than the bounds.
            StoreUnavailable: Only Postgres could tell, and it does not answer.
        """
        turns: list[Turn] = []
        step: str | None = response_id
        while step is not None:
            found = await self._follow_from(caller, step, is_newest=not turns)
            if not found:
                raise PreviousResponseNotFound(
                    f"Previous response with id '{step}' not found.", param="previous_response_id"
                )
            turns += found
            if len(turns) > MAX_TURNS or sum(turn.size_bytes for turn in turns) > MAX_BYTES:
                raise InvalidRequest(
                    f"The conversation is longer than {MAX_TURNS} turns or {MAX_BYTES // 1024**2} MiB. Begin a new one "
                    "with a summary of it.",
                    param="previous_response_id",
                )
            step = None if turns[-1].target is not None else turns[-1].previous_id
        return turns[::-1]

    async def _follow_from(self, caller: Caller, response_id: str, *, is_newest: bool) -> list[Turn]:
        pending = self._find_pending(caller, response_id)
        if pending is not None:
            return [pending]
        return await self._store.follow(caller, response_id, is_newest=is_newest)

    def _find_pending(self, caller: Caller, response_id: str) -> Turn | None:
        turn = self._pending.get((caller.tenant_id, response_id))
        return turn if turn is not None and (turn.key_id == caller.id or caller.may("admin")) else None

    async def find(self, caller: Caller, response_id: str) -> Turn:
        """Return one turn.

        Raises:
            NotFound: There is none for this caller.
            StoreUnavailable: Only Postgres could tell, and it does not answer.
        """
        turn = self._find_pending(caller, response_id) or await self._store.find(caller, response_id)
        if turn is None:
            raise NotFound(f"Response with id '{response_id}' not found.")
        return turn

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Delete one turn. Later turns that went on from it cannot be gone on from any more.

        Raises:
            NotFound: There is none for this caller.
            StoreUnavailable: Postgres does not answer, or does not have it yet.
        """
        if await self._store.delete(caller, response_id):
            self._forget((caller.tenant_id, response_id))
        elif self._find_pending(caller, response_id) is not None:
            raise StoreUnavailable("The response is on its way to Postgres. Delete it in a moment.")
        else:
            raise NotFound(f"Response with id '{response_id}' not found.")

    def _forget(self, name: tuple[str, str]) -> None:
        turn = self._pending.pop(name, None)
        if turn is not None:
            self._pending_bytes -= turn.size_bytes

    async def run(self) -> None:
        """Let go of what has arrived, and delete what has expired, until cancelled."""
        next_sweep = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                if self._pending:
                    for name in await self._store.which_are_there([response_id for _, response_id in self._pending]):
                        self._forget(name)
                if loop.time() >= next_sweep:
                    while await self._store.expire():
                        pass
                    next_sweep = loop.time() + _SWEEP_S
            except StoreUnavailable:
                pass  # the next round tries it again
            except Exception:  # noqa: BLE001 - the edge of the task: one fault must not end the sweeping
                _log.exception("old responses cannot be deleted now; it is tried again")
            await asyncio.sleep(_LOOK_S)
