"""Owns the facts about vendors: where they are, how they want the key, who prices them, and how their dialect differs.

A vendor that speaks OpenAI's dialect is one row. Sources: each vendor's API reference, read in 2026-08; prices by the
provider ids of genai-prices 0.2.3.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from backstay.providers.openai import Quirks
from backstay.providers.paths import VERTEX_PATHS, Paths

Auth = Literal["bearer", "api-key", "x-api-key", "x-goog-api-key"]
"""The header that carries the key: ``Authorization: Bearer …``, Azure's, Anthropic's or Google's own."""

DialectName = Literal["openai", "responses", "anthropic", "gemini", "bedrock"]


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One row of facts."""

    name: str
    dialect: DialectName = "openai"
    responses: bool = False
    """Whether it serves OpenAI's responses API beside its dialect, at its own address."""
    base_url: str | None
    """``None``: each customer has their own. ``{region}`` stands for the customer's region."""
    auth: Auth = "bearer"
    key_env: str | None = None
    """The environment variable in which the vendor's own tools look for the key; ``None``: it needs none."""
    other_key_envs: tuple[str, ...] = ()
    """Where they look for it after that."""
    paths: Paths | None = None
    """Where its operations are, if not where its dialect has them."""
    price_provider: str | None = None
    """Its id in genai-prices; ``None``: it has no public prices."""
    is_free: bool = False
    """Whether it runs on the user's own machines."""
    quirks: Quirks = Quirks()


_MAX_TOKENS = Quirks(output_limit="max_tokens", has_developer_role=False)
"""Servers that follow OpenAI's chat completions as they were before reasoning models."""

_ROWS = (
    Vendor(
        name="openai",
        base_url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        price_provider="openai",
        responses=True,
    ),
    # Called by the responses API alone, whatever the caller speaks: some models have no chat completions.
    # Source: platform.openai.com/docs/models, such as gpt-5.1-codex and o3-pro (2026-08).
    Vendor(
        name="openai-responses",
        dialect="responses",
        base_url="https://api.openai.com/v1",
        price_provider="openai",
        responses=True,
    ),
    Vendor(
        name="anthropic",
        dialect="anthropic",
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        key_env="ANTHROPIC_API_KEY",
        price_provider="anthropic",
    ),
    # Source: ai.google.dev/gemini-api/docs/api-key for both variables, api/generate-content for the rest (2026-11).
    Vendor(
        name="gemini",
        dialect="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        auth="x-goog-api-key",
        key_env="GEMINI_API_KEY",
        other_key_envs=("GOOGLE_API_KEY",),
        price_provider="google",
    ),
    # https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/publishers/google, or without
    # `LOCATION-` for the location `global`; the key is an access token, which lives for an hour.
    # Source: cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference (2026-11).
    Vendor(name="vertex", dialect="gemini", base_url=None, paths=VERTEX_PATHS, price_provider="google"),
    # Without an API key, requests are signed with AWS's credentials (`aws.AwsSigner`).
    # Source: docs.aws.amazon.com/general/latest/gr/bedrock.html and …/bedrock/latest/userguide/api-keys-use.html
    # (2026-11).
    Vendor(
        name="bedrock",
        dialect="bedrock",
        base_url="https://bedrock-runtime.{region}.amazonaws.com",
        key_env="AWS_BEARER_TOKEN_BEDROCK",
        price_provider="aws",
    ),
    # The v1 API, GA since 2025-08, is https://RESOURCE.openai.azure.com/openai/v1; with `api_version` in the config,
    # the dated one: RESOURCE…/openai/deployments/MODEL/…?api-version=….
    # Source: learn.microsoft.com/azure/foundry/openai/api-version-lifecycle.
    # The v1 API serves responses, the dated one has them elsewhere.
    Vendor(
        name="azure",
        base_url=None,
        auth="api-key",
        key_env="AZURE_OPENAI_API_KEY",
        price_provider="azure",
        responses=True,
    ),
    # Refuses unknown fields (422), `stream_options` and `user` among them; its streams end with usage unasked.
    # Source: docs.mistral.ai/api.
    Vendor(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        price_provider="mistral",
        quirks=Quirks(output_limit="max_tokens", has_developer_role=False, reports_stream_usage=False, user=None),
    ),
    Vendor(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        key_env="GROQ_API_KEY",
        price_provider="groq",
        quirks=Quirks(has_developer_role=False),
    ),
    Vendor(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        key_env="DEEPSEEK_API_KEY",
        price_provider="deepseek",
        quirks=_MAX_TOKENS,
    ),
    Vendor(
        name="together",
        base_url="https://api.together.xyz/v1",
        key_env="TOGETHER_API_KEY",
        price_provider="together",
        quirks=_MAX_TOKENS,
    ),
    Vendor(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        price_provider="openrouter",
        quirks=Quirks(output_limit="max_tokens"),
    ),
    Vendor(name="xai", base_url="https://api.x.ai/v1", key_env="XAI_API_KEY", price_provider="x-ai"),
    Vendor(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        key_env="FIREWORKS_API_KEY",
        price_provider="fireworks",
        quirks=_MAX_TOKENS,
    ),
    # Rerankers: their chats and embeddings, where they have any, are other wires. Sources: see `rerank_wire.py`.
    Vendor(
        name="cohere",
        base_url="https://api.cohere.com",
        key_env="CO_API_KEY",
        other_key_envs=("COHERE_API_KEY",),
        paths={"rerank": "/v2/rerank"},
        price_provider="cohere",
    ),
    Vendor(
        name="jina",
        base_url="https://api.jina.ai/v1",
        key_env="JINA_API_KEY",
        paths={"rerank": "/rerank", "embeddings": "/embeddings"},
    ),
    Vendor(
        name="voyage",
        base_url="https://api.voyageai.com/v1",
        key_env="VOYAGE_API_KEY",
        paths={"rerank": "/rerank", "embeddings": "/embeddings"},
        price_provider="voyageai",
    ),
    Vendor(name="ollama", base_url="http://127.0.0.1:11434/v1", is_free=True, quirks=_MAX_TOKENS),
    Vendor(name="vllm", base_url="http://127.0.0.1:8000/v1", is_free=True, quirks=_MAX_TOKENS),
    Vendor(name="llamacpp", base_url="http://127.0.0.1:8080/v1", is_free=True, quirks=_MAX_TOKENS),
)

VENDORS: Mapping[str, Vendor] = {row.name: row for row in _ROWS}
"""Every vendor by its name, which is what ``dialect`` may be in ``[providers.X]``."""

BUILT_IN_DIALECTS = ("simulator", "local", "litellm")
"""What ``dialect`` may be besides: providers that are part of Backstay, and the adaptor for all others."""
