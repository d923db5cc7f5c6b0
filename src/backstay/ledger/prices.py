"""Owns the price book: which unit prices apply to a model at a moment, from the public list and the operator's own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint

from backstay.core.clock import Clock, SystemClock
from backstay.core.currencies import Currencies
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.ledger.model_names import names_on_the_list
from backstay.ledger.overrides import PriceOverride, UnknownPrice, price_at
from backstay.ledger.price_list import PriceList, installed_list
from backstay.ledger.rates import NOTHING, Rates
from backstay.ledger.types import Cost

_MINUTE_NS = 60 * 1_000_000_000
"""Prices change at whole minutes of UTC only. Guarded by test_prices_change_at_whole_minutes_only."""

_MAX_READY = 4096
"""Prices kept ready. Far more than a policy has targets; service tiers come from outside, hence the bound."""

_NEVER_STANDARD = frozenset({("anthropic", "fast")})
"""Tiers that cost more wherever they are offered: a model's is unknown where the list has none. Source: Anthropic's
page on fast mode: twice to six times the price of Opus 4.6 to 4.8, which the list (0.2.3) leaves out (2026-06)."""

_SAY_WHAT_THEY_CHARGE = frozenset({"openrouter"})
"""Providers whose word is taken for what a call costs, where no list has the price."""

_UNKNOWN = Cost(amount_nanousd=None)
_FREE = Cost(amount_nanousd=NanoUSD(0), source="free (local)")


class PriceBook:
    """Prices attempts: the operator's own price first, then free targets, then the public list of ``genai-prices``.

    Nothing is downloaded: the list is the one installed, whose prices are those of the lock file, or one that the
    operator has put in force.
    """

    def __init__(
        self,
        overrides: Mapping[str, PriceOverride | Sequence[PriceOverride]] | None = None,
        *,
        price_list: PriceList | None = None,
        unknown: UnknownPrice | None = None,
        currencies: Currencies | None = None,
        clock: Clock | None = None,
    ):
        """Open the book.

        Args:
            overrides: The operator's prices by target (``acme/gpt-4o-mini``), or by provider id of genai-prices and
                model id (``openai/gpt-4o-mini``); the target goes first. Several prices are in the order of their days.
            price_list: ``None`` is the installed one.
            unknown: What ``most_unknown`` goes by.
            currencies: Those that prices may be in beside US dollars.
            clock: For ``describe``, which tells today's prices.
        """
        self._overrides = {
            name: (prices,) if isinstance(prices, PriceOverride) else prices
            for name, prices in (overrides or {}).items()
        }
        self._clock = clock or SystemClock()
        self._currencies = currencies or Currencies()
        self._unknown = None if unknown is None else self._unknown_rates(unknown)
        self.price_list = price_list or installed_list()
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
        duration_ms: int = 0,
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
            duration_ms: How long it took, for prices by the second.

        Returns:
            A cost whose amount is ``None`` where the price or the usage is not known. Where no list has the price and
            the provider says what it charges, that is the cost.
        """
        rates = self._rates(target, provider, model_id, service_tier, is_free, at_ns // _MINUTE_NS)
        cost = rates if isinstance(rates, Cost) else rates.cost(usage, duration_ms)
        if cost.amount_nanousd is None and usage.stated_nanousd is not None and provider in _SAY_WHAT_THEY_CHARGE:
            return Cost(amount_nanousd=NanoUSD(usage.stated_nanousd), source=f"{provider or target}'s own answer")
        return cost

    def most(
        self,
        *,
        provider: str | None,
        model_id: str,
        at_ns: int,
        input_tokens: int,
        output_tokens: int,
        web_searches: int = 0,
        duration_ms: int | None = None,
        without: frozenset[str] = NOTHING,
        service_tier: str | None = None,
        default_tier: str | None = None,
        price_percent: int = 100,
        target: str | None = None,
        is_free: bool = False,
    ) -> NanoUSD | None:
        """Say the most that an attempt can cost: no usage within these counts is dearer, and some is as dear.

        Args:
            provider: As for ``cost``, like the others that are not named here.
            model_id: As for ``cost``.
            at_ns: The moment by which ``cost`` will price it.
            input_tokens: The most that it may read, cached ones included.
            output_tokens: The most that it may write, reasoning included, of all candidates together.
            web_searches: The most that the provider may run.
            duration_ms: The longest that it may take; ``None`` is any time: a price by the second has no bound then.
            without: Units of genai-prices' names that it cannot be billed for (``cache_write_1h_mtok``, …).
            service_tier: What the caller asks for. ``None`` and ``auto`` leave it to the provider, which may take any
                that its customer can have set as a default.
            default_tier: What the customer has set there, where the operator says it.
            price_percent: What the provider may bill of the public list's price for each token, at most.
            target: As for ``cost``.
            is_free: As for ``cost``.

        Returns:
            ``None`` where the price of any of it is not known.
        """
        most = NanoUSD(0)
        for tier in served_tiers(provider, service_tier, default_tier):
            rates = self._rates(target, provider, model_id, tier, is_free, at_ns // _MINUTE_NS)
            if isinstance(rates, Cost):
                return rates.amount_nanousd
            bound = rates.most(input_tokens, output_tokens, web_searches, duration_ms=duration_ms, without=without)
            if bound is None:
                return None
            if price_percent > 100 and not rates.is_own:
                bound = NanoUSD(-(-bound * price_percent // 100) + 1)
            most = max(most, bound)
        return most

    def most_unknown(self, *, input_tokens: int, output_tokens: int, web_searches: int = 0) -> NanoUSD | None:
        """Say what an attempt of unknown price is taken to cost at most; ``None`` where the operator does not say."""
        return None if self._unknown is None else self._unknown.most(input_tokens, output_tokens, web_searches)

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
            "source", "since"}``, units by genai-prices' name; a tier lists what changes past that much input; ``since``
            is the first day of the price, ``None`` where nobody says.
        """
        rates = self._rates(target, provider, model_id, None, is_free, self._clock.now_ns() // _MINUTE_NS)
        if isinstance(rates, Rates):
            return rates.describe()
        return (
            None if rates is _UNKNOWN else {"usd_per_million": {}, "tiers": [], "source": rates.source, "since": None}
        )

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
            override = price_at(self._overrides.get(name or "", ()), at)
            if override is not None:
                rate = self._currencies.rate(override.currency, at)
                return Rates(
                    override.prices(rate), source=override.source(rate), since=override.valid_from, is_own=True
                )
        return None

    def _unknown_rates(self, unknown: UnknownPrice) -> Rates:
        now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        return Rates(unknown.prices(self._currencies.rate(unknown.currency, now)), source="unknown")

    def _public_rates(self, provider_id: str | None, model_id: str, tier: str | None, at: datetime) -> Rates | None:
        found = self._model(provider_id, model_id) if provider_id else None
        if found is None:
            return None
        provider, model = found
        standard = prices = model.get_prices(at)
        if tier and any(model is own for own in provider.models):
            prices = model.get_prices(at, _tier_context(tier))
            if prices == standard and (provider_id, tier) in _NEVER_STANDARD:
                return None
        source = f"{self.price_list.name} {provider.id}/{model.id}"
        return Rates(
            {unit: price for unit, price in vars(prices).items() if price is not None},
            source=source if prices == standard else f"{source} {tier}",
            since=_since(model, standard),
        )

    def _model(self, provider_id: str, model_id: str) -> tuple[Provider, ModelInfo] | None:
        key = (provider_id, model_id)
        if key not in self._models:
            found = (self._find(provider_id, name) for name in names_on_the_list(provider_id, model_id))
            self._models[key] = next((each for each in found if each is not None), None)
        return self._models[key]

    def _find(self, provider_id: str, model_id: str) -> tuple[Provider, ModelInfo] | None:
        try:
            return self.price_list.snapshot.find_provider_model(model_id, None, provider_id, None)
        except LookupError:
            return None


def _since(model: ModelInfo, prices: ModelPrice) -> date | None:
    """Find the first day of a listed price, where the list has it."""
    for dated in model.prices if isinstance(model.prices, list) else ():
        if dated.prices is prices and isinstance(dated.constraint, StartDateConstraint):
            return dated.constraint.start_date
    return None


_STANDARD = frozenset({"default", "standard", "standard_only", "on_demand"})
"""Words for the standard tier: OpenAI's, Anthropic's two and Groq's."""


def served_tiers(provider: str | None, asked: str | None, default: str | None = None) -> tuple[str | None, ...]:
    """List the tiers by which a provider may serve a call that asks for one; ``None`` is the standard one.

    Where none is asked for, it is the ``default`` that the operator says to have set at the provider, if they say it.

    A tier that is asked for may be refused for the standard one. OpenAI serves calls that ask for none by what the
    project's owner has set, which is the standard tier, scale (of which tokens are paid beforehand) or fast, in older
    words priority. Elsewhere those have the standard tier. Source: OpenAI API reference, `service_tier` of chat
    completions, and "Retrieve project service tier settings" (2026-11-17).
    """
    if asked is None or asked == "auto":
        if default is not None:
            return (None,) if default in _STANDARD else (None, default)
        return (None, "fast", "priority") if provider == "openai" else (None,)
    return (None,) if asked in _STANDARD else (None, asked)


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
