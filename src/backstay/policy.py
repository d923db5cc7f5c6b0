"""Owns ``backstay.toml``: its schema, reading it, and turning it into models, all or nothing."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema

from backstay.alerts import AlertConfig, ChannelConfig
from backstay.budgets import BudgetConfig
from backstay.cache import CacheConfig
from backstay.core.currencies import Currencies, CurrencyCode, DatedRates
from backstay.core.errors import ConfigError
from backstay.core.routing import OnBrokenStream, Strategy
from backstay.core.toml_lines import explain, line_of, not_toml
from backstay.ledger.anomaly import AnomalyConfig
from backstay.ledger.overrides import DatedPrices, UnknownPrice
from backstay.limits import LimitConfig
from backstay.loops import LoopConfig
from backstay.providers import ProviderConfig, TimeoutsConfig, implicit_providers
from backstay.providers.catalog import VENDORS
from backstay.providers.registry import check_provider

DEFAULT_FILE = Path("backstay.toml")

_MODEL = r"^[^\s]{1,128}$"
CollectionName = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$")]
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_TARGET = r"^[^/\s]+/\S+$"


def _is_model(written: Any) -> Any:
    if isinstance(written, str) and not re.search(_MODEL, written):
        raise ValueError(f"{written[:128]!r} cannot name a model: a name has 1 to 128 characters and no white space")
    return written


ModelName = Annotated[str, Field(pattern=_MODEL), BeforeValidator(_is_model)]


def _is_target(written: Any) -> Any:
    if isinstance(written, str) and not re.search(_TARGET, written):
        raise ValueError(f"{written!r} names no target: write its provider and its model, as in `openai/gpt-4o-mini`")
    return written


TargetName = Annotated[
    str, Field(pattern=_TARGET, description="provider/model, as in `acme/gpt-4o-mini`"), BeforeValidator(_is_target)
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TargetShare(_Table):
    """One entry of ``targets``, where its name alone is not enough."""

    target: TargetName
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Its share beside the others' weights.")
    tags: list[str] | None = Field(default=None, min_length=1, description="Only calls with one of these tags.")
    tenants: list[str] | None = Field(default=None, min_length=1, description="Only calls of these tenants.")

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, written: Any) -> Any:
        return {"target": written} if isinstance(written, str) else written

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "description": "provider/model"}, handler(schema)]}


class DegradedConfig(_Table):
    """``[models.NAME.degraded]``: what a caller gets when no target answers."""

    cache_stale: bool = Field(default=False, description="An equal request's answer, though it has expired.")
    target: TargetName | None = Field(default=None, description="A last target, such as a small local model.")
    message: str | None = Field(default=None, min_length=1, description="A fixed text, where that fails too.")


class ModelConfig(_Table):
    """``[models.NAME]``: a name that callers use."""

    targets: list[TargetShare] = Field(
        default_factory=list[TargetShare],
        min_length=1,
        description="Who may answer: a target, or a table about one.",
    )
    collection: CollectionName | None = Field(
        default=None, description="Instead of targets: the collection of documents that answers."
    )
    strategy: Strategy = Field(default="priority", description="How the targets are ordered for a call.")
    sticky: bool = Field(default=False, description="Whether a user stays with one target: its prompt cache is warm.")
    fallbacks: list[ModelName] = Field(
        default_factory=list[str], description="Models whose targets are tried after all of this one's own."
    )
    retries: int = Field(default=12, ge=0, le=50, description="Tries beyond one for each target.")
    queue_s: float = Field(default=5.0, ge=0, description="Longest wait for a target that is at its limits.")
    hedge: float = Field(
        default=0.0, ge=0, le=1, description="Share of calls in which a second target may be asked beside a late one."
    )
    on_broken_stream: OnBrokenStream = Field(
        default="error", description="When a stream breaks midway: tell the caller, or let the next target go on."
    )
    timeout: TimeoutsConfig | None = Field(default=None, description="Instead of the provider's own.")
    prompt_cache: Literal["off", "auto"] = Field(
        default="off",
        description="Whether prompts are marked for Anthropic's prompt cache, where callers mark nothing.",
    )
    cache: CacheConfig = Field(default=CacheConfig(), description="Whether its answers are kept.")
    degraded: DegradedConfig = Field(default=DegradedConfig(), description="What comes when no target answers.")

    @model_validator(mode="after")
    def _can_be_followed(self) -> Self:
        if self.collection is not None and self.model_fields_set != {"collection"}:
            others = ", ".join(sorted(self.model_fields_set - {"collection"}))
            raise ValueError(f"a model that is a collection has no {others}: its answer model has them")
        if self.strategy == "weighted" and not any(share.weight for share in self.targets):
            raise ValueError("at least one target needs a weight above 0")
        names = [share.target for share in self.targets]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the target {twice!r} is listed twice; `retries` says how often one is tried again")
        if self.degraded.cache_stale and not self.cache.exact:
            raise ValueError("degraded.cache_stale needs cache.exact = true: else no answers are kept")
        return self


class TargetConfig(_Table):
    """``[targets."PROVIDER/MODEL"]``: what one target can do, and how much of it."""

    tools: bool = Field(default=True, description="Whether it calls tools.")
    images: bool = Field(default=True, description="Whether it takes images.")
    json_schema: bool = Field(default=True, description="Whether it keeps to a JSON schema.")
    context_tokens: int | None = Field(default=None, gt=0, description="Longest prompt, in tokens.")
    requests_per_min: float | None = Field(default=None, gt=0, description="Its rate limit, where headers don't tell.")
    tokens_per_min: float | None = Field(default=None, gt=0, description="The same in tokens.")
    max_output_tokens: int | None = Field(
        default=None, gt=0, description="Longest answer, for budgets: what a call without a limit of its own may cost."
    )


class PolicyFile(_Table):
    """The whole of ``backstay.toml``."""

    providers: dict[str, ProviderConfig] = Field(default_factory=dict[str, ProviderConfig])
    models: dict[ModelName, ModelConfig] = Field(default_factory=dict[str, ModelConfig])
    targets: dict[TargetName, TargetConfig] = Field(default_factory=dict[str, TargetConfig])
    prices: dict[TargetName, DatedPrices] = Field(default_factory=dict[str, DatedPrices])
    unknown_price: UnknownPrice | None = Field(
        default=None, description="The most that a call of unknown price is taken to cost by budgets that allow it."
    )
    currencies: dict[CurrencyCode, DatedRates] = Field(
        default_factory=dict[CurrencyCode, DatedRates], description="US dollars for one unit of other currencies."
    )
    budgets: dict[str, BudgetConfig] = Field(
        default_factory=dict[str, BudgetConfig], description="What may be spent, in each tenant."
    )
    limits: list[LimitConfig] = Field(default_factory=list[LimitConfig], description="Of callers.")
    loops: LoopConfig = Field(default=LoopConfig(), description="What is done with calls that repeat themselves.")
    anomalies: AnomalyConfig = Field(default=AnomalyConfig(), description="Which spend is out of the ordinary.")
    alerts: dict[str, AlertConfig] = Field(default_factory=dict[str, AlertConfig], description="What is told.")
    alert_channels: dict[ChannelName, ChannelConfig] = Field(
        default_factory=dict[ChannelName, ChannelConfig], description="Who can be told."
    )


BUILT_IN_PROVIDERS: Mapping[str, Mapping[str, Any]] = {
    "local": {"dialect": "local"},
    "sim": {"dialect": "simulator", "price_as": "openai/gpt-4o-mini"},
}
BUILT_IN_MODELS: Mapping[str, str] = {
    "local": "local/smollm2",
    "embed": "local/minilm",
    "sim": "sim/gpt-4o-mini",
}

BUILT_IN_TARGETS: Mapping[str, TargetConfig] = {"local/smollm2": TargetConfig(images=False, context_tokens=8192)}
"""Source: the model card of HuggingFaceTB/SmolLM2-135M-Instruct, context of 8,192 tokens (2026-11)."""


def load_policy(path: Path | None, environ: Mapping[str, str]) -> PolicyFile:
    """Read the policy file, and add what is there without any: the built-in providers and models.

    Args:
        path: ``None`` means ``./backstay.toml`` if there is one, else only the built-in policy.

    Raises:
        ConfigError: The file cannot be read, is not TOML or not a policy, or what it refers to is not there; with its
            line where one is to blame.
    """
    return parse_policy(*read_source(path), environ)


def parse_policy(source: str, file: str, environ: Mapping[str, str]) -> PolicyFile:
    """Read a policy's text, as ``load_policy`` does; ``file``: what errors call it."""
    try:
        written = PolicyFile.model_validate(tomllib.loads(source))
    except tomllib.TOMLDecodeError as error:
        raise not_toml(error, file) from None
    except ValidationError as error:
        raise explain(error, source, file) from None
    policy = _with_defaults(written, environ)
    _check_targets(policy, source, file)
    _check_fallbacks(policy, source, file)
    _check_channels(policy, source, file)
    _check_currencies(policy, source, file)
    _check_unknown_price(policy, source, file)
    _check_providers(policy, source, file, environ)
    return policy


def read_source(path: Path | None) -> tuple[str, str]:
    """Read the text of a policy and say what it is called; nothing where no path is given and no file is there.

    Raises:
        ConfigError: It cannot be read.
    """
    path = path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    return ("" if path is None else _read(path)), str(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("there is no such file. Name another with --config.", file=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"it cannot be read: {error}.", file=str(path)) from None


def _with_defaults(written: PolicyFile, environ: Mapping[str, str]) -> PolicyFile:
    built_in = {name: ProviderConfig.model_validate(config) for name, config in BUILT_IN_PROVIDERS.items()}
    models = {name: ModelConfig(targets=[TargetShare(target=target)]) for name, target in BUILT_IN_MODELS.items()}
    return PolicyFile(
        providers={**built_in, **implicit_providers(environ), **written.providers},
        models={**models, **written.models},
        targets={**BUILT_IN_TARGETS, **written.targets},
        prices=written.prices,
        unknown_price=written.unknown_price,
        currencies=written.currencies,
        budgets=written.budgets,
        limits=written.limits,
        loops=written.loops,
        anomalies=written.anomalies,
        alerts=written.alerts,
        alert_channels=written.alert_channels,
    )


def _check_providers(policy: PolicyFile, source: str, file: str, environ: Mapping[str, str]) -> None:
    """Refuse providers whose key, region or package is not there."""
    for name, provider in policy.providers.items():
        try:
            check_provider(provider, environ)
        except ConfigError as error:
            line = line_of(source, ("providers", name, "api_key"))
            # Vendors whose key is in the environment need no file.
            raise ConfigError(f"providers.{name}: {error.message}", file=file if line else None, line=line) from None


def _check_targets(policy: PolicyFile, source: str, file: str) -> None:
    """Refuse models without targets, targets of missing providers, and facts of targets that no provider can ever have.

    A vendor whose key is not in the environment is not there, but may be elsewhere, where the same file is used.
    """
    for target in policy.targets:
        provider = target.partition("/")[0]
        if provider not in policy.providers and provider not in VENDORS:
            known = ", ".join(sorted(policy.providers))
            message = f"targets.{target}: there is no provider {provider!r}. There are: {known}."
            raise ConfigError(message, file=file, line=line_of(source, ("targets", target)))
    for name, model in policy.models.items():
        if model.collection is None and not model.targets:
            message = f'models.{name}: it needs targets, as in ["acme/gpt-4o-mini"], or a collection.'
            raise ConfigError(message, file=file, line=line_of(source, ("models", name)))
        named: list[tuple[tuple[str, ...], str]] = [
            (("models", name, "targets"), share.target) for share in model.targets
        ]
        if model.degraded.target is not None:
            named.append((("models", name, "degraded", "target"), model.degraded.target))
        for path, target in named:
            provider = target.partition("/")[0]
            if provider not in policy.providers:
                known = ", ".join(sorted(policy.providers))
                message = f"{'.'.join(path)}: there is no provider {provider!r}. There are: {known}."
                raise ConfigError(message, file=file, line=line_of(source, path))


def _check_fallbacks(policy: PolicyFile, source: str, file: str) -> None:
    """Refuse fallbacks to models that are not there, and circles of them."""
    for name, model in policy.models.items():
        for other in model.fallbacks:
            if other in policy.models and policy.models[other].collection is not None:
                message = f"models.{name}.fallbacks: {other!r} is a collection, which is nobody's fallback."
                raise ConfigError(message, file=file, line=line_of(source, ("models", name, "fallbacks")))
            if other not in policy.models:
                known = ", ".join(sorted(policy.models))
                message = f"models.{name}.fallbacks: there is no model {other!r}. There are: {known}."
                raise ConfigError(message, file=file, line=line_of(source, ("models", name, "fallbacks")))
    for name in policy.models:
        circle = _find_circle(policy, (name,))
        if circle is not None:
            message = f"models.{name}.fallbacks: they go in a circle: {' → '.join(circle)}. Leave one of them out."
            raise ConfigError(message, file=file, line=line_of(source, ("models", name, "fallbacks")))


def _check_channels(policy: PolicyFile, source: str, file: str) -> None:
    """Refuse alerts that are told to channels that are not there."""
    for name, alert in policy.alerts.items():
        for channel in alert.channels:
            if channel not in policy.alert_channels:
                known = ", ".join(sorted(policy.alert_channels)) or "none"
                message = f"alerts.{name}.channels: there is no [alert_channels.{channel}]. There are: {known}."
                raise ConfigError(message, file=file, line=line_of(source, ("alerts", name, "channels")))


def _check_currencies(policy: PolicyFile, source: str, file: str) -> None:
    """Refuse amounts in currencies without a rate, and budgets that are too large once they are converted."""
    if "USD" in policy.currencies:
        message = "currencies.USD: every rate is in US dollars. Leave it out."
        raise ConfigError(message, file=file, line=line_of(source, ("currencies", "USD")))
    currencies, now = Currencies(policy.currencies), datetime.now(UTC)
    for path, currency in _currencies_named(policy):
        try:
            currencies.rate(currency, now)
        except ValueError as error:
            raise ConfigError(f"{'.'.join(path)}: {error}.", file=file, line=line_of(source, path)) from None
    for name, budget in policy.budgets.items():
        try:
            budget.terms(name, currencies, now)
        except ValueError as error:
            path = ("budgets", name, "limit")
            raise ConfigError(f"{'.'.join(path)}: {error}.", file=file, line=line_of(source, path)) from None


def _check_unknown_price(policy: PolicyFile, source: str, file: str) -> None:
    """Refuse budgets that take calls of unknown price to cost what nobody has said."""
    for name, budget in policy.budgets.items():
        if budget.on_unknown_price == "bound" and policy.unknown_price is None:
            path = ("budgets", name, "on_unknown_price")
            message = (
                f'{".".join(path)}: "bound" needs the table [unknown_price], which says what such calls cost at most.'
            )
            raise ConfigError(message, file=file, line=line_of(source, path))


def _currencies_named(policy: PolicyFile) -> Iterator[tuple[tuple[str, ...], str]]:
    """Give each place that names a currency."""
    for target, prices in policy.prices.items():
        for place, price in enumerate(prices):
            yield ("prices", target, *([str(place)] if len(prices) > 1 else []), "currency"), price.currency
    if policy.unknown_price is not None:
        yield ("unknown_price", "currency"), policy.unknown_price.currency
    for name, budget in policy.budgets.items():
        yield ("budgets", name, "limit"), budget.amount.currency


def _find_circle(policy: PolicyFile, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Follow fallbacks until a model comes again."""
    for other in policy.models[path[-1]].fallbacks:
        if other in path:
            return (*path, other)
        if (circle := _find_circle(policy, (*path, other))) is not None:
            return circle
    return None


def policy_schema() -> dict[str, Any]:
    """Return the JSON schema of ``backstay.toml``, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyFile.model_json_schema()}
