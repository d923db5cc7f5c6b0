"""Owns the policy that is in force: read at the start and when its file changes, replaced whole or not at all."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from backstay.alerts import AlertRules
from backstay.budgets import Terms
from backstay.catalog import build_models, rate_limits
from backstay.core.currencies import Currencies, Rate
from backstay.core.errors import ConfigError
from backstay.data_folder import write_private
from backstay.gateway import Models
from backstay.health import RateLimits
from backstay.ledger import PriceBook
from backstay.ledger.price_list import KEPT_AS, PriceList, list_in_force
from backstay.limits import LimitRules
from backstay.policy import DEFAULT_FILE, PolicyFile, parse_policy, read_source
from backstay.providers import Provider, Providers

_log = logging.getLogger("backstay.policy")

_Stamp = tuple[int, int, int] | None

CHECK_S = 1.0
"""How often the file is looked at, in seconds."""


class LivePolicy:
    """One worker's policy, with the public prices. A bad edit is refused with its line, and nothing changes."""

    def __init__(self, path: Path | None, environ: Mapping[str, str], data_dir: Path | None = None):
        """``data_dir`` is where a newer public price list may be."""
        self._path = path
        self._data_dir = data_dir
        self._kept: Path | None = None
        self._environ = environ
        self._providers = Providers(environ)
        self._seen = self._stamp()
        self._price_list: tuple[_Stamp, PriceList] | None = None
        self._again = asyncio.Event()
        self.problem: ConfigError | None = None
        """Why the file as it is now is not in force; ``None`` when it is."""
        self.models = Models({})
        self.prices = PriceBook({})
        self.currencies = Currencies()
        self.rate_limits: Mapping[str, RateLimits] = {}
        self.limits = LimitRules()
        self.budgets: Sequence[Terms] = ()
        self.alerts = AlertRules()
        self._rates: Sequence[Rate] = ()
        """Those that limits were converted by."""
        self.file = PolicyFile()
        self.providers: Mapping[str, Provider] = {}

    def start(self, kept: Path) -> None:
        """Put the file in force. Where it is wrong, that is what was in force before: a worker dies, and is started
        again, also while somebody edits the file.

        Args:
            kept: Where the text of what is in force is kept for that, from now on.

        Raises:
            ConfigError: It is not valid, and nothing else was in force.
        """
        self._kept = kept
        try:
            self.load()
        except ConfigError as problem:
            try:
                self._put_in_force(kept.read_text(encoding="utf-8"), str(kept))
            except (OSError, UnicodeDecodeError, ConfigError):
                raise problem from None
            self._refuse(problem)

    def load(self) -> None:
        """Read the file and put it in force.

        Raises:
            ConfigError: It is not valid. Nothing has changed.
        """
        source, file = read_source(self._path)
        self._put_in_force(source, file)
        self._keep(source)

    def _put_in_force(self, source: str, file: str) -> None:
        policy = parse_policy(source, file, self._environ)
        providers = self._providers.build(policy.providers)
        models = build_models(policy, providers)
        currencies, now = Currencies(policy.currencies), datetime.now(UTC)
        prices = PriceBook(
            policy.prices, price_list=self._prices_in_force(), unknown=policy.unknown_price, currencies=currencies
        )
        budgets = [budget.terms(name, currencies, now) for name, budget in policy.budgets.items()]
        self.models, self.prices, self.currencies, self.problem = models, prices, currencies, None
        self._rates = currencies.in_force(now)
        self.rate_limits = rate_limits(policy)
        self.limits = LimitRules(policy.limits)
        self.budgets = budgets
        self.alerts = AlertRules(policy.alerts, policy.alert_channels)
        self.file, self.providers = policy, providers

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Follow the file until cancelled, and call back each time that a new policy is in force."""
        while True:
            await self._until_changed()
            try:
                self.load()
            except ConfigError as problem:
                self._refuse(problem)
            else:
                _log.info("A new policy is in force.")
                on_change()

    def look_again(self) -> None:
        """Read the file now, changed or not."""
        self._again.set()

    async def close(self) -> None:
        await self._providers.close()

    def _refuse(self, problem: ConfigError) -> None:
        self.problem = problem
        _log.error("The new policy is refused and the old one stays in force. %s", problem)

    def _keep(self, source: str) -> None:
        if self._kept is None:
            return
        try:
            if not self._kept.exists() or self._kept.read_bytes() != source.encode():
                write_private(self._kept, source.encode())
        except OSError as error:
            _log.warning("The policy in force is not kept for workers that start again: %s", error)

    async def _until_changed(self) -> None:
        while not self._again.is_set() and self._stamp() == self._seen and not self._has_other_rates():
            try:
                async with asyncio.timeout(CHECK_S):
                    await self._again.wait()
            except TimeoutError:
                continue
        self._again.clear()
        self._seen = self._stamp()
        self._rates = self.currencies.in_force(datetime.now(UTC))

    def _has_other_rates(self) -> bool:
        return self.currencies.in_force(datetime.now(UTC)) != self._rates

    def _prices_in_force(self) -> PriceList:
        """Read the public prices, again only when their file has changed: it takes a tenth of a second."""
        stamp = self._stamp()[1]
        if self._price_list is None or self._price_list[0] != stamp:
            self._price_list = stamp, list_in_force(self._data_dir)
        return self._price_list[1]

    def _stamp(self) -> tuple[_Stamp, _Stamp]:
        """Tell one state of the policy's file and of the prices' from another."""
        prices = None if self._data_dir is None else _stamp(self._data_dir / KEPT_AS)
        return _stamp(self._path or DEFAULT_FILE), prices


def _stamp(path: Path) -> _Stamp:
    """Tell a file's states apart by inode, size and time of change; ``None`` where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
