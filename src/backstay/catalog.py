"""Owns the step from a policy to models and targets, and their description for people."""

from collections.abc import Mapping

from backstay.console import CatalogModel, CatalogTarget
from backstay.core.caller import Caller
from backstay.gateway import Model, Models, Target
from backstay.ledger import PriceBook
from backstay.policy import PolicyFile
from backstay.providers import Provider, ProviderConfig


def build_models(policy: PolicyFile, providers: Mapping[str, Provider]) -> Models:
    """Build the models of a policy over the providers of the same policy."""

    def target(name: str) -> Target:
        provider_name, _, model_id = name.partition("/")
        return _target(providers[provider_name], policy.providers[provider_name], model_id)

    def direct(name: str) -> Target | None:
        """``provider/model`` names a target without an entry in the policy."""
        provider, _, model_id = name.partition("/")
        return target(name) if model_id and provider in providers else None

    named = {
        name: Model(
            name=name,
            targets=tuple(target(each) for each in config.targets),
            timeouts=config.timeout.as_timeouts() if config.timeout else None,
            cache=config.cache.as_policy(config.targets),
        )
        for name, config in policy.models.items()
    }
    return Models(named, direct)


def _target(provider: Provider, config: ProviderConfig, model_id: str) -> Target:
    price_provider, _, price_model = (config.price_as or "").partition("/")
    return Target(
        name=f"{provider.name}/{model_id}",
        provider=provider,
        model_id=model_id,
        price_provider=price_provider or provider.price_provider,
        price_model=price_model or model_id,
        is_free=provider.is_free and config.price_as is None,
    )


def describe(models: Models, prices: PriceBook, caller: Caller) -> list[CatalogModel]:
    """Describe the models that a caller may use, each with its targets and their prices in USD per million."""
    return [
        CatalogModel(name=model.name, targets=tuple(_describe(target, prices) for target in model.targets))
        for model in models.visible_to(caller)
    ]


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
