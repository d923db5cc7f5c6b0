"""Owns where each operation is below a provider's base URL: by dialect, or by vendor where one differs.

A path may hold ``{model}``. Sources: each vendor's API reference (2026-11).
"""

from collections.abc import Mapping
from urllib.parse import quote

from backstay.providers.types import Operation

Paths = Mapping[Operation | str, str]
"""By operation; a stream's under ``chat stream`` where it is not the chat's."""

PATHS: Mapping[str, Paths] = {
    "openai": {"chat": "/chat/completions", "embeddings": "/embeddings", "rerank": "/rerank"},
    "responses": {"chat": "/responses"},
    "anthropic": {"chat": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"},
    "gemini": {
        "chat": "/models/{model}:generateContent",
        "chat stream": "/models/{model}:streamGenerateContent?alt=sse",
        "embeddings": "/models/{model}:batchEmbedContents",
        "count_tokens": "/models/{model}:countTokens",
    },
    "bedrock": {"chat": "/model/{model}/converse", "chat stream": "/model/{model}/converse-stream"},
}
"""By the name of a dialect."""

VERTEX_PATHS: Paths = {operation: path for operation, path in PATHS["gemini"].items() if operation != "embeddings"}
"""Vertex AI has the same methods below ``…/publishers/google``, but no batch of embeddings."""


def azure_dated(base_url: str, version: str) -> tuple[str, Paths]:
    """Return base URL and paths of Azure's API with a date for its version, which has the model in the path."""
    base_url = base_url.removesuffix("/v1").removesuffix("/openai")
    paths = PATHS["openai"].items()
    return base_url, {name: f"/openai/deployments/{{model}}{path}?api-version={version}" for name, path in paths}


def join_path(base_url: str, path: str) -> str:
    """Join a base URL and a path. Both may have the version: Anthropic's base is given with it by some tools."""
    return (base_url.removesuffix("/v1") if path.startswith("/v1/") else base_url) + path


def fill_model(template: str, model_id: str) -> str:
    """Put a model's name into a URL, as one segment. Google's names may begin with the path's own ``models/``."""
    return template.replace("{model}", quote(model_id.removeprefix("models/"), safe=""))
