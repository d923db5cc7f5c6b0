"""Owns the policy that is in force: read at the start and when its file changes, replaced whole or not at all."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backstay.budgets import Terms
from backstay.catalog import build_models, rate_limits
from backstay.core.errors import ConfigError
from backstay.gateway import Models
from backstay.health import RateLimits
from backstay.ledger import PriceBook
from backstay.limits import LimitRules
from backstay.policy import DEFAULT_FILE, PolicyFile, load_policy
from backstay.providers import Provider, Providers

_log = logging.getLogger("backstay.policy")

CHECK_S = 1.0
"""How often the file is looked at, in seconds."""


class LivePolicy:
    """One worker's policy. A bad edit is refused with its line, and what was in force stays in force."""

    def __init__(self, path: Path | None, environ: Mapping[str, str]):
        self._path = path
        self._environ = environ
        self._providers = Providers(environ)
        self._seen = self._stamp()
        self._again = asyncio.Event()
        self.problem: ConfigError | None = None
        """Why the file as it is now is not in force; ``None`` when it is."""
        self.models = Models({})
        self.prices = PriceBook({})
        self.rate_limits: Mapping[str, RateLimits] = {}
        self.limits = LimitRules()
        self.budgets: Sequence[Terms] = ()
        self.file = PolicyFile()
        self.providers: Mapping[str, Provider] = {}

    def load(self) -> None:
        """Read the file and put it in force.

        Raises:
            ConfigError: It is not valid. Nothing has changed.
        """
        policy = load_policy(self._path, self._environ)
        providers = self._providers.build(policy.providers)
        models, prices = build_models(policy, providers), PriceBook(policy.prices)
        self.models, self.prices, self.problem = models, prices, None
        self.rate_limits = rate_limits(policy)
        self.limits = LimitRules(policy.limits)
        self.budgets = [budget.terms(name) for name, budget in policy.budgets.items()]
        self.file, self.providers = policy, providers

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Follow the file until cancelled, and call back each time that a new policy is in force."""
        while True:
            await self._until_changed()
            try:
                self.load()
            except ConfigError as problem:
                self.problem = problem
                _log.error("The new policy is refused and the old one stays in force. %s", problem)
            else:
                _log.info("A new policy is in force.")
                on_change()

    def look_again(self) -> None:
        """Read the file now, changed or not."""
        self._again.set()

    async def close(self) -> None:
        await self._providers.close()

    async def _until_changed(self) -> None:
        while not self._again.is_set() and self._stamp() == self._seen:
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._again.wait()
            except TimeoutError:
                continue
        self._again.clear()
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int] | None:
        """Tell one state of the file from another: by inode, size and time of change; ``None`` where there is none."""
        try:
            state = (self._path or DEFAULT_FILE).stat()
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns
