"""Every kind of provider keeps every promise: over HTTP and in this process, in each dialect."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from conformance import CHECKS, Check

from backstay.providers import Provider, ProviderConfig
from backstay.providers.http import open_session
from backstay.providers.registry import build_provider
from backstay.testing import simulator_server

_KINDS: dict[str, dict[str, Any]] = {
    "openai over HTTP": {"dialect": "openai"},
    "anthropic over HTTP": {"dialect": "anthropic"},
    "mistral over HTTP": {"dialect": "mistral"},
    "vllm over HTTP": {"dialect": "vllm"},
    "bedrock over HTTP": {"dialect": "bedrock", "region": "eu-west-1", "api_key": "env:KEY"},
    "responses over HTTP": {"dialect": "openai-responses"},
    "gemini over HTTP": {"dialect": "gemini"},
    "vertex over HTTP": {"dialect": "vertex"},
    "simulated gemini": {"dialect": "simulator", "speaks": "gemini"},
    "simulated openai": {"dialect": "simulator"},
    "simulated responses": {"dialect": "simulator", "speaks": "responses"},
    "simulated anthropic": {"dialect": "simulator", "speaks": "anthropic"},
    "simulated bedrock": {"dialect": "simulator", "speaks": "bedrock"},
}


@pytest.fixture(params=_KINDS)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """A provider of each kind, those over HTTP in front of a simulator on a real socket."""
    config: dict[str, Any] = _KINDS[request.param]
    async with open_session() as session, simulator_server() as server:
        if config["dialect"] != "simulator":
            base_url = server.url if config["dialect"] == "bedrock" else server.openai_url
            config = {**config, "base_url": base_url}
        built = build_provider("acme", ProviderConfig(**config), session=session, environ={"KEY": "k"})
        yield built
        await built.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Check, provider: Provider) -> None:
    """Each check's own docstring says what is promised."""
    await check(provider, "gpt-4o-mini")
