"""Owns the following of new calls: one listener a process, shared by everybody who watches."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from backstay.store import Database
from backstay.tracing.types import Span
from backstay.tracing.views import CallFilter

CHANNEL = "backstay_traces"

_MAX_WAITING = 2_000
"""Calls that wait for a slow watcher; older ones are left out. Live is live: the list has them all."""

_MAX_BATCH = 200
_MIN_PAUSE_S = 0.1

CallName = tuple[datetime, str]
"""When a call started, and its span id."""

ReadCalls = Callable[[str, CallFilter, Sequence[CallName]], Awaitable[list[Span]]]


class Tail:
    """Tells watchers of calls as they reach Postgres, in the order in which they do."""

    def __init__(self, database: Database, read: ReadCalls):
        self._database = database
        self._read = read
        self._watchers: dict[str, set[_Watcher]] = {}
        self._is_listening = False

    async def follow(self, tenant_id: str, wanted: CallFilter, *, heartbeat_s: float) -> AsyncIterator[Sequence[Span]]:
        """Yield new calls that pass a filter, in small batches, until the iterator is closed.

        An empty batch comes after ``heartbeat_s`` seconds without a call, so that a dead connection is noticed. Calls
        that arrive while Postgres is away are not told; they are in the list.

        Raises:
            StoreUnavailable: Postgres does not answer.
        """
        watcher = _Watcher()
        self._watchers.setdefault(tenant_id, set()).add(watcher)
        self._listen()
        try:
            while True:
                names = await watcher.take(heartbeat_s)
                calls = await self._read(tenant_id, wanted, names) if names else []
                if calls or not names:
                    yield calls
                await asyncio.sleep(_MIN_PAUSE_S)
        finally:
            self._watchers[tenant_id].discard(watcher)
            if not self._watchers[tenant_id]:
                del self._watchers[tenant_id]

    @property
    def watched_tenants(self) -> int:
        return len(self._watchers)

    def _listen(self) -> None:
        if not self._is_listening:
            self._is_listening = True
            self._database.listen(CHANNEL, self._on_event, on_gap=_ignore_gap)

    def _on_event(self, payload: str) -> None:
        tenant_id, *names = payload.split(" ")
        watchers = self._watchers.get(tenant_id)
        if not watchers:
            return
        parsed = [_parse_name(name) for name in names]
        for watcher in watchers:
            watcher.put(parsed)


class _Watcher:
    def __init__(self) -> None:
        self._waiting: deque[CallName] = deque(maxlen=_MAX_WAITING)
        self._woken = asyncio.Event()

    def put(self, names: Sequence[CallName]) -> None:
        self._waiting.extend(names)
        self._woken.set()

    async def take(self, timeout_s: float) -> list[CallName]:
        """Take the calls that wait, the first come first; none if none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return []
        taken = [self._waiting.popleft() for _ in range(min(_MAX_BATCH, len(self._waiting)))]
        if not self._waiting:
            self._woken.clear()
        return taken


def _parse_name(name: str) -> CallName:
    """Read a call's name as MERGE_SPANS writes it: microseconds since the epoch, and span id."""
    started_us, _, span_id = name.partition("-")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(started_us)), span_id


def _ignore_gap() -> None:
    """Watchers are told of what comes from now on."""
