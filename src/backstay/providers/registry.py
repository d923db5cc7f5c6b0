"""Owns the making of providers from their configuration."""

from collections.abc import Mapping

import aiohttp

from backstay.core.errors import ConfigError
from backstay.providers.aws import AwsSigner
from backstay.providers.catalog import VENDORS, Vendor
from backstay.providers.config import ProviderConfig, region_in
from backstay.providers.dialects import DIALECTS
from backstay.providers.gemini import VERTEX
from backstay.providers.http import HttpProvider, auth_headers, open_session
from backstay.providers.litellm_adaptor import LiteLLMProvider
from backstay.providers.litellm_adaptor.library import check_installed
from backstay.providers.local import LocalProvider
from backstay.providers.openai import OpenAIDialect
from backstay.providers.paths import azure_dated
from backstay.providers.secrets import Secret, is_reference, read_secret
from backstay.providers.simulator import Simulator
from backstay.providers.types import Dialect, Provider

_ANTHROPIC_VERSION = "2023-06-01"
"""Source: https://docs.claude.com/en/api/versioning (2026-08)."""


def build_provider(
    name: str, config: ProviderConfig, *, session: aiohttp.ClientSession, environ: Mapping[str, str]
) -> Provider:
    """Make one provider.

    Args:
        name: Its name in the policy file.
        session: Shared by all providers of a worker; it must outlive them.
        environ: Where ``env:NAME`` references are looked up, and where the local models' address is.

    Raises:
        ConfigError: A key it refers to is not there, or a package that it needs.
    """
    vendor = VENDORS.get(config.dialect)
    try:
        if vendor is not None:
            return _build_http(name, config, vendor, session, environ)
        if config.dialect == "local":
            return LocalProvider(name, session, environ=environ)
        if config.dialect == "litellm":
            return _build_litellm(name, config, session, environ)
        return Simulator(
            name, script=config.script, seed=config.seed, speaks=config.speaks, responses=config.serves_responses
        )
    except ConfigError as error:
        raise ConfigError(f"providers.{name}: {error.message}", file=error.file, line=error.line) from error


def check_provider(config: ProviderConfig, environ: Mapping[str, str]) -> None:
    """See that what a provider refers to outside of its file is there: its key, secret headers, region, package.

    Raises:
        ConfigError: It is not; ``build_provider`` would say the same.
    """
    if config.api_key is not None:
        read_secret(config.api_key, environ)
    _read_headers(config, environ)
    if config.dialect == "bedrock":
        _region(config, environ)
    if config.dialect == "litellm":
        check_installed()


def _build_http(
    name: str,
    config: ProviderConfig,
    vendor: Vendor,
    session: aiohttp.ClientSession,
    environ: Mapping[str, str],
) -> HttpProvider:
    base_url, paths = config.base_url or vendor.base_url, vendor.paths
    assert base_url is not None, "ProviderConfig demands it of vendors without an address of their own"
    if config.api_version is not None:
        base_url, paths = azure_dated(base_url, config.api_version)
    key = None if config.api_key is None else read_secret(config.api_key, environ)
    signer: AwsSigner | None = None
    if vendor.dialect == "bedrock":
        region = _region(config, environ)
        base_url = base_url.replace("{region}", region)
        signer = AwsSigner(name, region=region, profile=config.profile) if key is None else None
    own, secrets = _read_headers(config, environ)
    version = {"anthropic-version": _ANTHROPIC_VERSION} if vendor.dialect == "anthropic" else {}
    return HttpProvider(
        name,
        _dialect(vendor),
        session,
        base_url=base_url,
        headers={**version, **auth_headers(vendor.auth, key), **own},
        secrets=secrets if key is None else (key, *secrets),
        timeouts=config.timeouts.as_timeouts(),
        price_provider=vendor.price_provider,
        is_free=vendor.is_free and config.price_as is None,
        reports_stream_usage=vendor.quirks.reports_stream_usage,
        responses=config.serves_responses,
        paths=paths,
        signer=signer,
    )


def _build_litellm(
    name: str, config: ProviderConfig, session: aiohttp.ClientSession, environ: Mapping[str, str]
) -> LiteLLMProvider:
    assert config.vendor is not None and config.api_key is not None, "ProviderConfig demands both"
    headers, secrets = _read_headers(config, environ)
    return LiteLLMProvider(
        name,
        session,
        vendor=config.vendor,
        key=read_secret(config.api_key, environ),
        base_url=config.base_url,
        headers=headers,
        secrets=secrets,
        timeouts=config.timeouts.as_timeouts(),
    )


def _dialect(vendor: Vendor) -> Dialect:
    if vendor.dialect == "openai":
        return OpenAIDialect(vendor.quirks)
    return VERTEX if vendor.name == "vertex" else DIALECTS[vendor.dialect]


def _region(config: ProviderConfig, environ: Mapping[str, str]) -> str:
    region = config.region or region_in(environ)
    if region is None:
        raise ConfigError('It needs a region: set `region = "us-east-1"` or AWS_REGION.')
    return region


def _read_headers(config: ProviderConfig, environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[Secret, ...]]:
    """Return the configured headers, and those of their values that are secret."""
    headers: dict[str, str] = {}
    secrets: list[Secret] = []
    for header, value in config.headers.items():
        if is_reference(value):
            secrets.append(read_secret(value, environ))
            value = secrets[-1].reveal()
        headers[header.lower()] = value
    return headers, tuple(secrets)


class Providers:
    """The providers of one worker, over one shared session. A provider whose configuration stays the same is kept."""

    def __init__(self, environ: Mapping[str, str]):
        self._environ = environ
        self._session: aiohttp.ClientSession | None = None
        self._built: dict[str, tuple[ProviderConfig, Provider]] = {}

    def build(self, configs: Mapping[str, ProviderConfig]) -> dict[str, Provider]:
        """Build the providers of a policy. A loop must be running. Those that are no longer named stay open for calls
        that are under way.

        Raises:
            ConfigError: One cannot be built. Nothing has changed.
        """
        if self._session is None:
            self._session = open_session()
        built: dict[str, tuple[ProviderConfig, Provider]] = {}
        for name, config in configs.items():
            before = self._built.get(name)
            if before is None or before[0] != config:
                before = config, build_provider(name, config, session=self._session, environ=self._environ)
            built[name] = before
        self._built = built
        return {name: provider for name, (_, provider) in built.items()}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
