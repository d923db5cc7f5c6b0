"""Owns what could have been saved on past calls, kind by kind, in money."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Literal

import msgspec

from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.ledger.prefix import KEPT_US
from backstay.ledger.traffic import PastCall, Traffic

Kind = Literal["duplicates", "prompt_cache", "batch", "cut"]
"""``duplicates``: equal requests that a cache of answers would have answered. ``prompt_cache``: beginnings of prompts
that were paid in full each time. ``batch``: calls of priority ``batch`` at the price of those that somebody waits for.
``cut``: answers that nearly always end at the output limit."""

Price = Callable[[str, Usage, str | None], NanoUSD | None]
"""What a target asks for a usage in a service tier, today; ``None``: unknown."""

ADVICE: Mapping[Kind, str] = {
    "duplicates": "Equal requests came within an hour. Keep the model's answers: [models.NAME.cache] exact = true.",
    "prompt_cache": 'Calls begin alike and paid that in full. Cache it: prompt_cache = "auto", or as the vendor says.',
    "batch": "These calls can wait, and the provider's batches cost less.",
    "cut": "Nine in ten answers end at the output limit. Raise it, or ask for shorter answers.",
}
"""What would have saved it."""

_ANSWER_KEPT_US = 3600 * 1_000_000
"""Microseconds. As long as the cache of answers keeps one unless it is told otherwise."""
_CUT_SHARE = 0.9
_CUT_CALLS = 20


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Money that one change would have saved. Savings of different kinds may be on the same calls."""

    kind: Kind
    model: str
    target: str | None = None
    feature: str | None = None
    key_id: str | None = None
    calls: int
    """Those that would have cost less."""
    amount_nanousd: NanoUSD
    tokens: int | None = None
    """Of a prompt's beginning, estimated."""
    trace_id: str
    """One of the calls."""


class FoundSavings(msgspec.Struct, frozen=True, kw_only=True):
    savings: list[Saving]
    """The largest first."""
    read_calls: int
    is_partial: bool
    """Whether there were more calls than were read, which are the newest."""


class _Group:
    """What adds up to one saving."""

    def __init__(self, first: PastCall):
        self.first = first
        self.calls = self.amount = self.seen = 0

    def add(self, amount: int) -> None:
        self.calls += amount > 0
        self.amount += amount

    def saving(self, kind: Kind, *names: str, tokens: int | None = None) -> Saving:
        told = {name: getattr(self.first, name) for name in names}
        return Saving(
            kind=kind, model=self.first.model, calls=self.calls, amount_nanousd=NanoUSD(self.amount), tokens=tokens,
            trace_id=self.first.trace_id, **told,
        )  # fmt: skip


class PromptCache:
    """A provider's cache of prompts as it would have been, over calls in the order of their time."""

    def __init__(self) -> None:
        self._used_us: dict[tuple[str, bytes], int] = {}

    def usage(self, call: PastCall, target: str) -> Usage | None:
        """Say what a call would have used with its beginning cached; ``None``: it has none, or it was cached."""
        prefix, usage = call.prefix, call.usage
        if prefix is None or usage.cache_read_tokens or usage.cache_write_tokens:
            return None
        key = (target, prefix.digest)
        before = self._used_us.get(key)
        self._used_us[key] = call.at_us
        if before is not None and call.at_us - before <= KEPT_US:
            return msgspec.structs.replace(usage, cache_read_tokens=prefix.tokens)
        return msgspec.structs.replace(usage, cache_write_tokens=prefix.tokens)

    def saved(self, call: PastCall, target: str, price: Price) -> int:
        """Say how many nano-USD a call at a target would have saved; what writing into the cache costs is below 0."""
        cached = self.usage(call, target)
        if cached is None:
            return 0
        plain, less = price(target, call.usage, None), price(target, cached, None)
        return 0 if plain is None or less is None else plain - less


class Savings:
    """Finds savings in calls that it is given in the order of their time. It holds a little for each different call."""

    def __init__(self, price: Price):
        self._price = price
        self._prompts = PromptCache()
        self._asked_us: dict[tuple[str, bytes], int] = {}
        self._repeated: dict[tuple[str, str | None], _Group] = {}
        self._prefixes: dict[tuple[str, str, bytes], _Group] = {}
        self._later: dict[tuple[str, str, str | None, str | None], _Group] = {}
        self._cut: dict[tuple[str, str | None], _Group] = {}

    def add(self, calls: Iterable[PastCall]) -> None:
        for call in calls:
            self._see_repeated(call)
            self._see_prefix(call)
            self._see_later(call)
            self._see_cut(call)

    def found(self) -> list[Saving]:
        """List what was found, the largest first."""
        found = [group.saving("duplicates", "feature") for group in self._repeated.values()]
        for group in self._prefixes.values():
            prefix = group.first.prefix
            found.append(group.saving("prompt_cache", "target", "feature", tokens=prefix.tokens if prefix else None))
        found += [group.saving("batch", "target", "feature", "key_id") for group in self._later.values()]
        often = (group for group in self._cut.values() if group.calls >= max(_CUT_CALLS, _CUT_SHARE * group.seen))
        found += [group.saving("cut", "feature") for group in often]
        return sorted(
            (saving for saving in found if saving.amount_nanousd > 0),
            key=lambda saving: (-saving.amount_nanousd, saving.kind, saving.model, saving.trace_id),
        )

    def _see_repeated(self, call: PastCall) -> None:
        if call.digest is None:
            return
        key = (call.model, call.digest)
        asked_us = self._asked_us.get(key)
        if asked_us is None or call.at_us - asked_us > _ANSWER_KEPT_US:
            self._asked_us[key] = call.at_us
        else:
            self._repeated.setdefault((call.model, call.feature), _Group(call)).add(call.cost_nanousd)

    def _see_prefix(self, call: PastCall) -> None:
        saved = self._prompts.saved(call, call.target, self._price)
        if saved and call.prefix is not None:
            self._prefixes.setdefault((call.model, call.target, call.prefix.digest), _Group(call)).add(saved)

    def _see_later(self, call: PastCall) -> None:
        if not call.is_later or call.has_batch_price:
            return
        plain, less = self._price(call.target, call.usage, None), self._price(call.target, call.usage, "batch")
        if plain is not None and less is not None and less < plain:
            key = (call.model, call.target, call.feature, call.key_id)
            self._later.setdefault(key, _Group(call)).add(plain - less)

    def _see_cut(self, call: PastCall) -> None:
        group = self._cut.setdefault((call.model, call.feature), _Group(call))
        group.seen += 1
        if call.is_cut:
            group.add(call.cost_nanousd)


async def find_savings(
    traffic: Traffic, price: Price, tenant_id: str, *, since: datetime, until: datetime, key_id: str | None = None
) -> FoundSavings:
    """Look for savings in the newest calls of a time. Raises what ``Traffic.calls`` raises."""
    finder, read_calls, is_partial = Savings(price), 0, False
    async with aclosing(traffic.calls(tenant_id, since=since, until=until, key_id=key_id)) as calls:
        async for some in calls:
            await asyncio.to_thread(finder.add, some.calls)
            read_calls, is_partial = read_calls + len(some.calls), some.is_partial
    return FoundSavings(savings=finder.found(), read_calls=read_calls, is_partial=is_partial)
