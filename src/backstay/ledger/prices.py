"""Owns the price book: which unit prices apply to a model at a moment, from the public list and the operator's own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from genai_prices import __version__ as _LIST_VERSION
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from backstay.core.clock import Clock, SystemClock
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.ledger.model_names import names_on_the_list
from backstay.ledger.overrides import PriceOverride
from backstay.ledger.rates import Rates
from backstay.ledger.types import Cost

_MINUTE_NS = 60 * 1_000_000_000
"""Prices change at whole minutes of UTC only. Guarded by test_prices_change_at_whole_minutes_only."""

_MAX_READY = 4096
"""Prices kept ready. Far more than a policy has targets; service tiers come from outside, hence the bound."""

_UNKNOWN = Cost(amount_nanousd=None)
_FREE = Cost(amount_nanousd=NanoUSD(0), source="free (local)")


class PriceBook:
    """Prices attempts: the operator's own price first, then free targets, then the public list of ``genai-prices``.

    The list is the one installed (nothing is downloaded), so the prices are those of the lock file.
    """

    def __init__(self, overrides: Mapping[str, PriceOverride] | None = None, *, clock: Clock | None = None):
        """Open the book.

        Args:
            overrides: The operator's prices by target (``acme/gpt-4o-mini``), or by provider id of genai-prices and
                model id (``openai/gpt-4o-mini``); the target goes first.
            clock: For ``describe``, which tells today's prices.
        """
        self._overrides = dict(overrides or {})
        self._clock = clock or SystemClock()
        self._list = get_snapshot()
        self._models: dict[tuple[str, str], tuple[Provider, ModelInfo] | None] = {}
        self._ready: dict[tuple[str | None, str | None, str, str | None, bool], tuple[int, Rates | Cost]] = {}

    def cost(
        self,
        *,
        provider: str | None,
        model_id: str,
        usage: Usage,
        at_ns: int,
        service_tier: str | None = None,
        target: str | None = None,
        is_free: bool = False,
    ) -> Cost:
        """Price one attempt.

        Args:
            provider: The provider's id in genai-prices; ``None`` where it has no public price.
            model_id: The provider's own name for the model.
            usage: What the provider says was used.
            at_ns: When the attempt began, in nanoseconds since the Unix epoch.
            service_tier: What the provider says of the tier that served it: ``flex``, ``priority``, ``batch``, …
            target: The target's name, for the operator's own prices.
            is_free: Whether it costs nothing unless the operator has set a price.

        Returns:
            A cost whose amount is ``None`` where the price or the usage is not known.
        """
        rates = self._rates(target, provider, model_id, service_tier, is_free, at_ns // _MINUTE_NS)
        return rates if isinstance(rates, Cost) else rates.cost(usage)

    def rates(
        self,
        *,
        provider: str | None,
        model_id: str,
        at_ns: int,
        service_tier: str | None = None,
        target: str | None = None,
        is_free: bool = False,
    ) -> Rates | Cost:
        """Give the prices by which ``cost`` goes, or the cost that every attempt has, whose amount may be unknown."""
        return self._rates(target, provider, model_id, service_tier, is_free, at_ns // _MINUTE_NS)

    def describe(
        self, provider: str | None, model_id: str, *, target: str | None = None, is_free: bool = False
    ) -> dict[str, Any] | None:
        """Tell today's prices of a model, or ``None`` if they are not known.

        Returns:
            ``{"usd_per_million": {unit: exact decimal}, "tiers": [{"above_input_tokens", "usd_per_million"}],
            "source"}``, units by genai-prices' name; a tier lists what changes past that much input.
        """
        rates = self._rates(target, provider, model_id, None, is_free, self._clock.now_ns() // _MINUTE_NS)
        if isinstance(rates, Rates):
            return rates.describe()
        return None if rates is _UNKNOWN else {"usd_per_million": {}, "tiers": [], "source": rates.source}

    def _rates(
        self, target: str | None, provider: str | None, model_id: str, tier: str | None, is_free: bool, minute: int
    ) -> Rates | Cost:
        """Find the prices of this minute, or the cost that every call has whatever it used."""
        key = (target, provider, model_id, tier, is_free)
        ready = self._ready.get(key)
        if ready is not None and ready[0] == minute:
            return ready[1]
        at = datetime.fromtimestamp(minute * 60, UTC)
        rates = self._own_rates(target, provider, model_id, at)
        if rates is None:
            rates = _FREE if is_free else self._public_rates(provider, model_id, tier, at) or _UNKNOWN
        if len(self._ready) >= _MAX_READY:
            self._ready.clear()
        self._ready[key] = (minute, rates)
        return rates

    def _own_rates(self, target: str | None, provider: str | None, model_id: str, at: datetime) -> Rates | None:
        for name in (target, f"{provider}/{model_id}"):
            override = self._overrides.get(name or "")
            if override is not None and override.applies(at):
                return Rates(override.prices(), source="backstay.toml")
        return None

    def _public_rates(self, provider_id: str | None, model_id: str, tier: str | None, at: datetime) -> Rates | None:
        found = self._model(provider_id, model_id) if provider_id else None
        if found is None:
            return None
        provider, model = found
        standard = prices = model.get_prices(at)
        if tier and any(model is own for own in provider.models):
            prices = model.get_prices(at, _tier_context(tier))
        source = f"genai-prices {_LIST_VERSION} {provider.id}/{model.id}"
        return Rates(
            {unit: price for unit, price in vars(prices).items() if price is not None},
            source=source if prices == standard else f"{source} {tier}",
        )

    def _model(self, provider_id: str, model_id: str) -> tuple[Provider, ModelInfo] | None:
        key = (provider_id, model_id)
        if key not in self._models:
            found = (self._find(provider_id, name) for name in names_on_the_list(provider_id, model_id))
            self._models[key] = next((each for each in found if each is not None), None)
        return self._models[key]

    def _find(self, provider_id: str, model_id: str) -> tuple[Provider, ModelInfo] | None:
        try:
            return self._list.find_provider_model(model_id, None, provider_id, None)
        except LookupError:
            return None


def _tier_context(tier: str) -> dict[str, str]:
    """Say a service tier in the words by which genai-prices selects a price variant.

    A tier without a variant has the standard price. Source: genai-prices 0.2.3: `service_tier` (OpenAI, Google),
    `processing: batch` and `speed: fast` (Anthropic) (2026-11-23).
    """
    context = {"service_tier": tier}
    if tier == "batch":
        context["processing"] = "batch"
    if tier == "fast":
        context["speed"] = "fast"
    return context
