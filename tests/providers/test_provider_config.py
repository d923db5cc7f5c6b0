"""Providers' configuration: what is accepted, what is refused and how it is said, and what is built from it."""

import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import genai_prices.data
import pytest
from pydantic import ValidationError

from backstay.core.errors import ConfigError
from backstay.providers import ProviderConfig, implicit_providers
from backstay.providers.catalog import VENDORS
from backstay.providers.http import HttpProvider, open_session
from backstay.providers.openai import OpenAIDialect
from backstay.providers.registry import build_provider
from backstay.providers.secrets import Secret, read_secret, redact


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"dialect": "opnai"}, "Did you mean 'openai'?"),
    ({"dialect": "klingon"}, "There are: openai, openai-responses, anthropic"),
    ({"dialect": "openai", "api_key": "sk-abcdef"}, "where the key is kept"),
    ({"dialect": "openai", "api_key": "env:"}, "where the key is kept"),
    ({"dialect": "openai", "base_url": "example.com/v1"}, "no http or https address"),
    ({"dialect": "openai", "base_url": "ftp://example.com"}, "no http or https address"),
    ({"dialect": "openai", "base_url": "https://user:pass@example.com"}, "the key belongs into api_key"),
    ({"dialect": "azure"}, "azure needs a base_url"),
    ({"dialect": "openai", "api_version": "2024-10-21"}, "Azure's"),
    ({"dialect": "openai", "script": {}}, "the simulator's"),
    ({"dialect": "openai", "region": "eu-west-1"}, "Bedrock's"),
    ({"dialect": "litellm", "api_key": "env:K"}, "needs a vendor and an api_key"),
    ({"dialect": "litellm", "vendor": "cohere"}, "needs a vendor and an api_key"),
    ({"dialect": "litellm", "vendor": "a/b", "api_key": "env:K"}, "match pattern"),
    ({"dialect": "openai", "vendor": "cohere"}, "vendor is litellm's"),
    ({"dialect": "bedrock", "region": "eu west"}, "match pattern"),
    ({"dialect": "openai", "baseurl": "x"}, "Extra inputs are not permitted"),
    ({"dialect": "openai", "headers": {"x y": "1"}}, "cannot be the name of a header"),
    ({"dialect": "openai", "headers": {"x": "1\r\ny: 2"}}, "must be one line"),
    ({"dialect": "openai", "timeouts": {"idle_s": 0}}, "greater than 0"),
    ({"dialect": "openai", "price_as": "gpt"}, "match pattern"),
]


@pytest.mark.parametrize(("fields", "reason"), MISTAKES)
def test_mistakes_are_explained(fields: dict[str, Any], reason: str) -> None:
    """A wrong table is refused with a sentence that says what to do."""
    with pytest.raises(ValidationError) as refused:
        ProviderConfig(**fields)
    assert reason in str(refused.value)


def test_a_literal_key_is_not_repeated() -> None:
    """The refusal of a key in clear does not print it (as the policy's reader shows errors: without input)."""
    with pytest.raises(ValidationError) as refused:
        ProviderConfig(dialect="openai", api_key="sk-abcdefgh")
    assert all("sk-abcdefgh" not in error["msg"] for error in refused.value.errors(include_input=False))


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=lambda vendor: vendor.name)
def test_every_vendor_has_a_price_list_that_exists(vendor: Any) -> None:
    """A vendor's id for prices is one that genai-prices knows; what runs at home is free and has none.

    Jina's prices are in no list: they are the operator's to write down.
    """
    known = {provider.id for provider in genai_prices.data.providers}
    assert (vendor.is_free or vendor.name == "jina") == (vendor.price_provider is None)
    assert vendor.price_provider is None or vendor.price_provider in known


def test_keys_in_the_environment_are_enough() -> None:
    """A vendor whose key is set is there by its own name; an empty variable is none."""
    environ = {"OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "GROQ_API_KEY": "", "AZURE_OPENAI_API_KEY": "k3"}
    found = implicit_providers(environ)
    assert {name: config.dialect for name, config in found.items()} == {"openai": "openai", "anthropic": "anthropic"}
    with_azure = implicit_providers({**environ, "AZURE_OPENAI_ENDPOINT": "https://acme.openai.azure.com/"})
    assert with_azure["azure"].base_url == "https://acme.openai.azure.com/openai/v1"
    assert implicit_providers({}) == {}
    assert implicit_providers({"AWS_BEARER_TOKEN_BEDROCK": "k"}) == {}
    assert list(implicit_providers({"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "eu-west-1"})) == ["bedrock"]


@pytest.mark.parametrize("name", VENDORS)
async def test_every_vendor_can_be_built(session: aiohttp.ClientSession, name: str) -> None:
    """Each row of the catalogue gives a provider that knows its price list and its quirks."""
    base_url = None if VENDORS[name].base_url else "https://acme.example.com/v1"
    config = ProviderConfig(dialect=name, base_url=base_url, api_key="env:KEY")
    provider = build_provider("acme", config, session=session, environ={"KEY": "k", "AWS_REGION": "eu-west-1"})
    assert isinstance(provider, HttpProvider)
    assert (provider.price_provider, provider.is_free) == (VENDORS[name].price_provider, VENDORS[name].is_free)
    assert provider.dialect.name == VENDORS[name].dialect == config.dialect_name
    if isinstance(provider.dialect, OpenAIDialect):
        assert provider.dialect.quirks == VENDORS[name].quirks


async def test_a_server_at_home_with_a_price_is_not_free(session: aiohttp.ClientSession) -> None:
    """`price_as` puts a price on what would be free."""
    config = ProviderConfig(dialect="vllm", price_as="openai/gpt-4o-mini")
    assert build_provider("acme", config, session=session, environ={}).is_free is False


async def test_a_missing_key_names_provider_and_variable(session: aiohttp.ClientSession) -> None:
    """The error says where to set what."""
    config = ProviderConfig(dialect="openai", api_key="env:ACME_KEY")
    with pytest.raises(ConfigError, match=r"providers\.acme: The environment variable ACME_KEY holds no key"):
        build_provider("acme", config, session=session, environ={})


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    """A key file's last line end does not belong to the key; what is no single line is refused."""
    place = tmp_path / "key"
    place.write_text("k-123\n")
    assert read_secret(f"file:{place}", {}).reveal() == "k-123"
    place.write_text("a\nb")
    with pytest.raises(ConfigError, match="more than one line"):
        read_secret(f"file:{place}", {})
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_secret(f"file:{tmp_path / 'none'}", {})


def test_secrets_do_not_show_themselves() -> None:
    """Neither repr, nor formatting, nor a log line holds the value."""
    secret = Secret("canary-4711")
    stream = io.StringIO()
    logger = logging.getLogger("test-secrets")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.warning("%s %r %s", secret, secret, {"key": secret})
    logger.removeHandler(handler)
    assert "canary" not in f"{secret} {secret!r} {[secret]}" + stream.getvalue()
    assert secret == Secret("canary-4711")


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-AbCdEfGhIjKl",
        "sk-ant-api03-AbC_dEf-123",
        "sk-abc***************xyz",
        "bs_ab12cd34ef_AbCdEf0123456789",
        "AIzaSyA1234567890123456789012345",
        "gsk_abcdefghijklmnop1234",
        "xai-abcdefghijklmnop1234",
    ],
)
def test_keys_are_cut_out_of_texts(key: str) -> None:
    """Whatever is shaped like a vendor's key goes, and nothing around it."""
    assert redact(f"Incorrect key: {key}, see the docs.") == "Incorrect key: [redacted], see the docs."


def test_known_secrets_and_bearers_are_cut_out() -> None:
    """A secret of any shape goes if it is known; so does what follows `Bearer`."""
    assert redact("x hunter2 y", [Secret("hunter2")]) == "x [redacted] y"
    assert redact("sent Authorization: Bearer abc.def-123==") == "sent Authorization: Bearer [redacted]"


def test_plain_words_stay() -> None:
    """Words that only begin like keys are left alone."""
    text = "Ask the risk-management desk; task sk-1 failed. The bearer of bad news."
    assert redact(text) == text


def test_the_schema_names_every_dialect() -> None:
    """Editors can offer what may stand there."""
    schema = ProviderConfig.model_json_schema()
    assert schema["properties"]["dialect"]["enum"] == [*VENDORS, "simulator", "local", "litellm"]
    assert all("description" in field for name, field in schema["properties"].items() if name != "timeouts")
