"""Owns the step from a policy to models and targets, and their description for people."""

from collections.abc import Callable, Iterator, Mapping

from backstay.console import CatalogModel, CatalogTarget
from backstay.core.caller import Caller
from backstay.core.clock import Clock
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.gateway import ANYTHING, Ability, Degraded, Model, Models, RetryPolicy, Route, Target
from backstay.health import RateLimits
from backstay.ledger import Cost, PriceBook
from backstay.ledger.rates import Rates
from backstay.policy import ModelConfig, PolicyFile, TargetConfig, TargetShare
from backstay.providers import Provider


def build_models(policy: PolicyFile, providers: Mapping[str, Provider]) -> Models:
    """Build the models of a policy over the providers of the same policy."""
    targets = _Targets(policy, providers)
    named: dict[str, Model] = {}
    collections: dict[str, str] = {}
    for name, config in policy.models.items():
        if config.collection is not None:
            collections[name] = config.collection
        else:
            named[name] = _build_model(name, config, policy, targets)
    return Models(named, targets.find, collections)


def rate_limits(policy: PolicyFile) -> dict[str, RateLimits]:
    """Say what the operator knows of the targets' rate limits."""
    return {
        name: RateLimits(requests_per_min=config.requests_per_min, tokens_per_min=config.tokens_per_min)
        for name, config in policy.targets.items()
    }


def _build_model(name: str, config: ModelConfig, policy: PolicyFile, targets: "_Targets") -> Model:
    built = tuple(
        targets.build(share, config, stage)
        for stage, shares in enumerate(_stages(policy, name, set()))
        for share in shares
    )
    return Model(
        name=name,
        targets=built,
        route=Route(
            strategy=config.strategy,
            sticky=config.sticky,
            retry=RetryPolicy(retries=config.retries, queue_s=config.queue_s),
            hedge_share=config.hedge,
            on_broken_stream=config.on_broken_stream,
            degraded=Degraded(
                cache_stale=config.degraded.cache_stale,
                target=targets.build(TargetShare(target=config.degraded.target), config)
                if config.degraded.target is not None
                else None,
                message=config.degraded.message,
            ),
            prompt_cache=config.prompt_cache == "auto",
            is_conditional=any(target.can != ANYTHING for target in built),
        ),
        cache=config.cache.as_policy([target.name for target in built], may_be_stale=config.degraded.cache_stale),
    )


def _stages(policy: PolicyFile, name: str, known: set[str]) -> Iterator[list[TargetShare]]:
    """Give a model's own targets, then those of each of its fallbacks, each target once. ``known`` grows by them."""
    shares = [share for share in policy.models[name].targets if share.target not in known]
    known |= {share.target for share in shares}
    yield shares
    for other in policy.models[name].fallbacks:
        yield from _stages(policy, other, known)


class _Targets:
    """Makes targets over the providers of one policy."""

    def __init__(self, policy: PolicyFile, providers: Mapping[str, Provider]):
        self._policy = policy
        self._providers = providers

    def find(self, name: str) -> Target | None:
        """``provider/model`` names a target without an entry in the policy."""
        provider, _, model_id = name.partition("/")
        return self.build(TargetShare(target=name)) if model_id and provider in self._providers else None

    def build(self, share: TargetShare, model: ModelConfig | None = None, stage: int = 0) -> Target:
        """Make one target of a model."""
        provider_name, _, model_id = share.target.partition("/")
        provider, config = self._providers[provider_name], self._policy.providers[provider_name]
        price_provider, _, price_model = (config.price_as or "").partition("/")
        timeouts = model.timeout if model is not None and model.timeout is not None else config.timeouts
        return Target(
            name=share.target,
            provider=provider,
            model_id=model_id,
            price_provider=price_provider or provider.price_provider,
            price_model=price_model or model_id,
            default_tier=config.service_tier,
            default_geo=config.inference_geo,
            is_free=provider.is_free and config.price_as is None,
            can=self._ability(share),
            weight=share.weight,
            stage=stage,
            timeouts=timeouts.as_timeouts(),
        )

    def _ability(self, share: TargetShare) -> Ability:
        facts = self._policy.targets.get(share.target, TargetConfig())
        return Ability(
            tools=facts.tools,
            images=facts.images,
            json_schema=facts.json_schema,
            context_tokens=facts.context_tokens,
            output_tokens=facts.max_output_tokens,
            tags=frozenset(share.tags) if share.tags is not None else None,
            tenants=frozenset(share.tenants) if share.tenants is not None else None,
        )


def describe(models: Models, prices: PriceBook, caller: Caller) -> list[CatalogModel]:
    """Describe the models that a caller may use, each with its targets and their prices in USD per million."""
    answering = [
        CatalogModel(name=model.name, targets=tuple(_describe(target, prices) for target in model.targets))
        for model in models.visible_to(caller)
    ]
    collections = [
        CatalogModel(name=name, targets=(), collection=collection)
        for name in models.collections
        if (collection := models.collection(name, caller)) is not None
    ]
    return [*answering, *collections]


def _describe(target: Target, prices: PriceBook) -> CatalogTarget:
    price = prices.describe(target.price_provider, target.price_model, target=target.name, is_free=target.is_free)
    return CatalogTarget(
        name=target.name,
        dialect=target.provider.dialect.name,
        problem=target.provider.problem,
        is_free=target.is_free,
        prices=price["usd_per_million"] if price else None,
        price_source=price["source"] if price else None,
    )


class TargetPrices:
    """Tells what targets ask for today, by the policy that runs."""

    def __init__(self, running: Callable[[], tuple[Models, PriceBook]], clock: Clock):
        self._running = running
        self._clock = clock

    def find(self, name: str, caller: Caller) -> str:
        """Return the target that answers a model first; the name may be a target's own.

        Raises ``UnknownModel`` if there is none that the caller may use.
        """
        models, _ = self._running()
        return models.find(name, caller).targets[0].name

    def rates(self, target_name: str, tier: str | None = None) -> Rates | Cost:
        """Give a target's prices in a service tier; of one that is gone the cost is unknown."""
        models, prices = self._running()
        target = models.target(target_name)
        if target is None:
            return Cost(amount_nanousd=None)
        return prices.rates(
            provider=target.price_provider,
            model_id=target.price_model,
            at_ns=self._clock.now_ns(),
            service_tier=tier,
            target=target.name,
            is_free=target.is_free,
        )

    def price(self, target_name: str, usage: Usage, tier: str | None = None) -> NanoUSD | None:
        """Price a usage; ``None`` where a price or a count is not known."""
        rates = self.rates(target_name, tier)
        return rates.amount_nanousd if isinstance(rates, Cost) else rates.cost(usage).amount_nanousd
