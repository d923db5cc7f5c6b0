"""Owns a gateway for tests: real journal, real prices, simulated providers of both dialects in this process."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from backstay.cache import read_directives
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.gateway import Gateway, Headers, Incoming, Model, Models, Route, Target, call
from backstay.health.concurrency import ConcurrencyLimit
from backstay.ledger import PriceBook
from backstay.providers import ANTHROPIC, OPENAI, Dialect, Operation, Timeouts
from backstay.providers.simulator import Simulator
from backstay.records import CallDocument
from backstay.store import Journal
from backstay.store.frames import EntryKind
from backstay.tracing import Span

CALLER = Caller(tenant_id="acme", kind="key", id="key_1", name="test", rights=frozenset({"call"}), feature="search")

ASK: Mapping[str, Any] = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


class MemorySink:
    """Keeps what a caller would get. ``on_write`` may raise, as a caller that goes away."""

    def __init__(self, on_write: Callable[[bytes], None] = lambda chunk: None):
        self.begun = False
        self.ended = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self._on_write = on_write

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        await self.begin(status, headers)
        await self.write(body, end=True)

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        self._on_write(chunk)
        self.chunks.append(chunk)
        self.ended = end


class Narrow(ConcurrencyLimit):
    """A target's limit of one call at a time, however well it goes."""

    def has_room(self, in_flight: int) -> bool:
        return in_flight < 1


class WatchedJournal(Journal):
    """A real journal that also keeps its entries at hand."""

    entries: list[tuple[EntryKind, Sequence[bytes]]]

    def append(self, kind: EntryKind, entry_id: bytes, parts: Sequence[bytes]) -> None:
        super().append(kind, entry_id, parts)
        self.entries.append((kind, [bytes(part) for part in parts]))


class House:
    """One gateway and what its calls left."""

    def __init__(self, journal: WatchedJournal):
        self.journal = journal
        self.spans: list[Span] = []
        self.gateway = Gateway(
            models=Models({}), prices=PriceBook(), journal=journal, clock=SystemClock(), observe=self.spans.append
        )

    def offer(
        self, name: str, *simulators: Simulator, timeouts: Timeouts | None = None, route: Route | None = None
    ) -> None:
        """Offer one model, with a simulator for each of its targets."""
        targets = tuple(
            Target(
                name=f"{each.name}/gpt-4o-mini",
                provider=each,
                model_id="gpt-4o-mini",
                price_provider="openai",
                price_model="gpt-4o-mini",
                timeouts=timeouts or Timeouts(),
            )
            for each in simulators
        )
        self.gateway.models = Models({name: Model(name=name, targets=targets, route=route or Route())})

    async def call(
        self,
        body: Mapping[str, Any] | bytes,
        *,
        dialect: Dialect = OPENAI,
        operation: Operation = "chat",
        sink: MemorySink | None = None,
        idempotency_key: str | None = None,
        cache_control: str | None = None,
        deadline_s: float | None = None,
    ):
        """Make one call on the wire of a dialect."""
        sink = sink or MemorySink()
        if not isinstance(body, bytes):
            body = json.dumps({"model": "m", **body}).encode()
        incoming = Incoming(
            operation=operation,
            path="/v1/chat/completions",
            dialect=dialect,
            caller=CALLER,
            body=body,
            feature="search",
            idempotency_key=idempotency_key,
            cache_control=read_directives(cache_control),
            deadline_s=deadline_s,
        )
        await call(self.gateway, incoming, sink)
        return sink

    @property
    def documents(self) -> list[CallDocument]:
        """What the calls left in the journal, in order."""
        calls = [parts[0] for kind, parts in self.journal.entries if kind == "call" and b'"spans"' in parts[0]]
        return [msgspec.json.decode(document, type=CallDocument) for document in calls]


@contextmanager
def open_house(folder: Path) -> Generator[House]:
    """Open a gateway that keeps its journal in a folder."""
    journal = WatchedJournal.open(folder / "journal")
    assert isinstance(journal, WatchedJournal)
    journal.entries = []
    yield House(journal)
    journal.close()


WIRES = {"openai": (OPENAI, dict(ASK)), "anthropic": (ANTHROPIC, {**ASK, "max_tokens": 100})}
"""A dialect and a body on its wire."""
