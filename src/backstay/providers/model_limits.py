"""Owns what is known of the longest answers that models write, by vendor and model."""

_OUTPUT_TOKENS: tuple[tuple[str, str, int], ...] = (
    # OpenAI, developers.openai.com/api/docs/models, "max output tokens" of each model (2026-11)
    ("openai", "gpt-3.5-turbo", 4_096),
    ("openai", "gpt-4-turbo", 4_096),
    ("openai", "gpt-4o", 16_384),
    ("openai", "gpt-4.1", 32_768),
    ("openai", "o1", 100_000),
    ("openai", "o3", 100_000),
    ("openai", "o4-mini", 100_000),
    ("openai", "gpt-5", 128_000),
    ("openai", "gpt-5-pro", 272_000),
    # Anthropic, platform.claude.com/docs/models/overview and each model's page, "max output" (2026-11).
    # 3.7 Sonnet writes twice its 64,000 with the beta header output-128k-2025-02-19.
    ("anthropic", "claude-3-", 4_096),
    ("anthropic", "claude-3-5-", 8_192),
    ("anthropic", "claude-3-7-", 128_000),
    ("anthropic", "claude-sonnet-4", 64_000),
    ("anthropic", "claude-sonnet-4-6", 128_000),
    ("anthropic", "claude-opus-4-0", 32_000),
    ("anthropic", "claude-opus-4-1", 32_000),
    ("anthropic", "claude-opus-4-2025", 32_000),
    ("anthropic", "claude-opus-4-5", 64_000),
    ("anthropic", "claude-opus-4-6", 128_000),
    ("anthropic", "claude-opus-4-7", 128_000),
    ("anthropic", "claude-opus-4-8", 128_000),
    ("anthropic", "claude-haiku-4-5", 64_000),
    ("anthropic", "claude-opus-5", 128_000),
    ("anthropic", "claude-sonnet-5", 128_000),
    ("anthropic", "claude-fable-5", 128_000),
    # Google, ai.google.dev/gemini-api/docs/models, "output token limit" (2026-11)
    ("google", "gemini-2.0-flash", 8_192),
    ("google", "gemini-2.5-", 65_536),
    ("google", "gemini-3-", 65_536),
)
"""Provider by genai-prices' id, how a model's name begins, and its longest answer in tokens, reasoning included.

The longest beginning wins. A model that is not here may write as much as its context holds.
"""


def known_output_limit(price_provider: str | None, model_id: str) -> int | None:
    """Return the most tokens that one answer of a model can have; ``None`` where that is not known."""
    limits = [
        (len(beginning), limit)
        for provider, beginning, limit in _OUTPUT_TOKENS
        if provider == price_provider and model_id.startswith(beginning)
    ]
    return max(limits)[1] if limits else None
