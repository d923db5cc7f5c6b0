"""Owns what is known of the longest prompts that models read and answers that they write, by vendor and model."""

import re

# A limit that is too low breaks the bound of what a call can cost, so only what was looked up stands here, model by
# model. What is left out is bounded by its context: newer models too, until somebody has looked.
# Source, unless said otherwise: model_prices_and_context_window.json of LiteLLM 1.106 (read 2026-11-24), which
# transcribes the vendors' model pages; where it has two figures for one name, the larger one.
_NAMES_BY_LIMIT: dict[tuple[str, int], str] = {
    # gpt-3.5-turbo-16k is left out: the page says 4,096, but its first version was bound by the context alone.
    ("openai", 4_096): "gpt-3.5-turbo gpt-3.5-turbo-0125 gpt-3.5-turbo-1106 gpt-4-1106-preview gpt-4-turbo",
    ("openai", 16_384): (
        "gpt-4o gpt-4o-mini gpt-4o-audio-preview gpt-4o-mini-audio-preview gpt-4o-search-preview "
        "gpt-4o-mini-search-preview gpt-audio gpt-audio-1.5 gpt-audio-mini gpt-5-chat gpt-5-chat-latest "
        "gpt-5.1-chat-latest gpt-5.2-chat-latest gpt-5.3-chat-latest"
    ),
    ("openai", 32_768): "gpt-4.1 gpt-4.1-mini gpt-4.1-nano",
    ("openai", 100_000): "o1 o1-pro o3 o3-deep-research o3-mini o3-pro o4-mini o4-mini-deep-research",
    ("openai", 128_000): (
        "gpt-5 gpt-5-codex gpt-5-mini gpt-5-nano gpt-5-search-api gpt-5.1 gpt-5.1-codex gpt-5.1-codex-max "
        "gpt-5.1-codex-mini gpt-5.2 gpt-5.2-codex gpt-5.2-pro gpt-5.3-codex gpt-5.4 gpt-5.4-mini gpt-5.4-nano "
        "gpt-5.4-pro gpt-5.5 gpt-5.5-pro gpt-5.6 gpt-5.6-cyber gpt-5.6-luna gpt-5.6-sol gpt-5.6-terra gpt-6-astra "
        "gpt-6-cyber gpt-6-luna gpt-6-rosalind gpt-6-sol gpt-6.1-sol gpt-6.1-terra"
    ),
    ("openai", 272_000): "gpt-5-pro",
    ("anthropic", 4_096): "claude-3-haiku claude-3-opus claude-3-opus-latest claude-3-sonnet",
    ("anthropic", 8_192): "claude-3-5-haiku claude-3-5-haiku-latest claude-3-5-sonnet claude-3-5-sonnet-latest",
    ("anthropic", 32_000): "claude-opus-4 claude-opus-4-0 claude-opus-4-1",
    ("anthropic", 64_000): "claude-haiku-4-5 claude-opus-4-5 claude-sonnet-4 claude-sonnet-4-0 claude-sonnet-4-5",
    # 3.7 Sonnet writes 64,000, and twice that with the header `anthropic-beta: output-128k-2025-02-19`.
    ("anthropic", 128_000): (
        "claude-3-7-sonnet claude-3-7-sonnet-latest claude-fable-5 claude-fable-5-1 claude-haiku-5-5 claude-mythos-5 "
        "claude-mythos-5-1 claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-opus-5 claude-opus-5-5 "
        "claude-sonnet-4-6 claude-sonnet-5 claude-sonnet-5-5"
    ),
    # ai.google.dev/gemini-api/docs/tokens: "an output limit of about 8,000 tokens"; 8,192 by the model's page.
    ("google", 8_192): "gemini-2.0-flash gemini-2.0-flash-001 gemini-2.0-flash-lite gemini-2.0-flash-lite-001",
    ("google", 65_536): (
        "gemini-2.5-flash gemini-2.5-flash-lite gemini-2.5-pro gemini-3-flash-preview gemini-3-pro-preview "
        "gemini-3.1-flash-lite gemini-3.1-flash-lite-preview gemini-3.1-pro-preview gemini-3.5-flash "
        "gemini-3.5-flash-lite gemini-3.6-flash gemini-3.7-flash gemini-3.8-flash"
    ),
    ("google", 1_048_576): "gemini-4-argon gemini-4-hydrogen",
    # api-docs.deepseek.com/quick_start/pricing (2026-04): "max output: 384K" of all V4 models, which the old names
    # deepseek-chat and deepseek-reasoner (8,192 and 65,536 before) have stood for since.
    ("deepseek", 393_216): "deepseek-chat deepseek-flash deepseek-reasoner deepseek-v4-flash deepseek-v4-pro",
    ("deepseek", 163_840): "deepseek-v3.2",
    # Mistral and xAI publish no limit but the context.
    ("mistral", 128_000): "codestral-2508 codestral-latest pixtral-large-latest",
    ("mistral", 131_072): "ministral-3b-2512 ministral-3b-latest",
    ("mistral", 256_000): "devstral-latest devstral-medium-latest devstral-small-latest",
    ("mistral", 262_144): (
        "magistral-medium-latest magistral-small-latest ministral-14b-2512 ministral-14b-latest ministral-8b-2512 "
        "ministral-8b-latest mistral-large-2512 mistral-medium-3-5 mistral-medium-latest mistral-small-2603 "
        "mistral-small-latest"
    ),
    ("mistral", 1_048_576): "mistral-large-4 mistral-large-4-0",
    ("x-ai", 256_000): "grok-build-0.1 grok-code-fast grok-code-fast-1",
    ("x-ai", 500_000): "grok-4.5 grok-4.5-latest grok-4.6 grok-4.7",
    ("x-ai", 1_000_000): (
        "grok-4.3 grok-4.3-latest grok-4.20 grok-4.20-0309-reasoning grok-4.20-0309-non-reasoning "
        "grok-4.20-multi-agent grok-4.20-multi-agent-0309 grok-4.20-non-reasoning grok-4.20-reasoning"
    ),
}
"""Provider by genai-prices' id and the longest answer in tokens, reasoning included, of these models."""

_OUTPUT_TOKENS = {(provider, name): limit for (provider, limit), names in _NAMES_BY_LIMIT.items()
                  for name in names.split()}  # fmt: skip

_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|20\d{6})$")
"""How OpenAI and Anthropic name one version of a model."""


def known_output_limit(price_provider: str | None, model_id: str) -> int | None:
    """Return the most tokens that one answer of a model can have; ``None`` where that is not known."""
    if price_provider is None:
        return None
    limit = _OUTPUT_TOKENS.get((price_provider, model_id))
    return _OUTPUT_TOKENS.get((price_provider, _DATE.sub("", model_id))) if limit is None else limit


_CONTEXTS: dict[str, tuple[tuple[int, str], ...]] = {
    "openai": (
        (128_000, "gpt-4-turbo gpt-4o gpt-4o-mini gpt-audio gpt-audio-mini"),
        (200_000, "o1 o1-pro o3 o3-mini o3-pro o4-mini"),
        (400_000, "gpt-5 gpt-5-mini gpt-5-nano gpt-5-pro gpt-5.1 gpt-5.2 gpt-5.3"),
        (1_050_000, "gpt-5.4 gpt-5.5 gpt-5.6 gpt-6-astra gpt-6-luna gpt-6-sol gpt-6.1-sol gpt-6.1-terra"),
        (1_047_576, "gpt-4.1 gpt-4.1-mini gpt-4.1-nano"),
    ),
    # Sonnet 4 and 4.5 read 200,000, and 1,000,000 with the header `anthropic-beta: context-1m-2025-08-07`.
    "anthropic": (
        (200_000, "claude-3 claude-3-5 claude-3-7 claude-haiku-4-5 claude-opus-4-0 claude-opus-4-1 claude-opus-4-5"),
        (1_000_000, (
            "claude-sonnet-4 claude-fable-5 claude-haiku-5-5 claude-mythos-5 claude-opus-4-6 claude-opus-4-7 "
            "claude-opus-4-8 claude-opus-5 claude-sonnet-5"
        )),
    ),
    "google": ((1_048_576, "gemini-2.0 gemini-2.5 gemini-3 gemini-3.1 gemini-3.5 gemini-3.6 gemini-3.7 gemini-3.8"),),
}  # fmt: skip
"""Provider, and how the names of models begin that read so many tokens at most, by the vendor's beta features, too.

What is left out is bounded by the largest context of all. Source: genai-prices 0.2.3, `context_window`, where it agrees
with LiteLLM 1.106's list, `max_input_tokens`, or is rounded from it (2026-11)."""


def known_context(price_provider: str | None, model_id: str) -> int | None:
    """Return the most tokens that a model reads at once; ``None`` where that is not known."""
    limits = _CONTEXTS.get(price_provider or "", ())
    return max((limit for limit, names in limits for name in names.split() if f"{model_id}-".startswith(f"{name}-")),
               default=None)  # fmt: skip
