"""Owns the bounds of a request before it is sent: how much the model can read and write of it at most. Pure."""

import re

import msgspec

from backstay.providers.media_tokens import weigh
from backstay.providers.types import Fields

_SAYS_NOTHING = frozenset({"model", "user", "metadata", "safety_identifier", "prompt_cache_key", "logit_bias", "store"})
"""Fields that no model reads."""

_PER_REQUEST = 512
"""What vendors add around a request, in tokens: marks of the chat's beginning and end, the date, how to answer. No
vendor publishes it but for tools, which are added on their own; that it is less than this is not confirmed of all."""

_PER_REQUEST_OF = {"x-ai": 4_096}
"""xAI bills a prompt of its own with each request, whose size it does not publish: a greeting to grok-4 was billed as
686 tokens (doc.302.ai/api-263332597, 2026-01)."""

_TOOLS = 1_536
"""What vendors add where there are tools at all, and for a tool of the vendor's own. The largest that are known are
Anthropic's: 530 for Claude 3 Opus, 346 for newer models (docs.anthropic.com, "tool use pricing and tokens"), and 735
and up to 499 for the computer's (claudecodeguides.com, "computer use token cost", 2026; the 499 is not confirmed)."""

_ANY_CONTEXT = 10_000_000
"""The largest context of any listed model, Llama 4 Scout's (genai-prices 0.2.3), where a model's own is not known."""

_ROUNDS = 10
"""How often a provider goes on after tools of its own, where the caller does not say: Anthropic's default, after which
a turn ends with ``pause_turn`` (its page on stop reasons, 2026-05). Other vendors' limits are not confirmed."""

_MEDIA = re.compile(
    rb'"(?:image_url|input_image|image|input_audio|audio|file|input_file|document|video|computer_screenshot|'
    rb'container_upload|inline_?[dD]ata|file_?[dD]ata)"'
)
"""The names of media."""

_OWN_TOOLS = re.compile(
    rb'"(?:web_search|web_fetch|file_search|code_interpreter|code_execution|mcp|image_generation|computer_use|shell|'
    rb"google_?[sS]earch|url_?[cC]ontext|tool_search|x_search|collections_search)"
)
"""The names of tools that a provider runs itself, after which it reads all of the context again; with any ending."""

_COMPACT = re.compile(rb'"compact')
_ANYWHERE = ("claude-2", "claude-3", "claude-instant", "claude-sonnet-4-0", "claude-sonnet-4-2", "claude-sonnet-4-5",
             "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2", "claude-opus-4-5",
             "claude-haiku-4-5")  # fmt: skip
"""Models of before February 2026, for which nobody can choose where they run; ``-4-2`` begins the first one's dates."""
_SCHEMA = re.compile(rb'"(?:parameters|input_schema)"')
_ONE_HOUR = re.compile(rb'"1h"')
_AUDIO = re.compile(rb'"(?:input_)?audio')
_ESCAPE = re.compile(rb"\\u00[2-7]")
"""How JSON may hide a plain letter, and with it any of the names above. One pattern with each would be far slower."""

_MAY_HAVE_MEDIA = frozenset({"messages", "input", "system", "contents"})

OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_limit = msgspec.json.Decoder(int | None)
_any = msgspec.json.Decoder()
_list = msgspec.json.Decoder(list[msgspec.Raw] | None)


def most_input_tokens(
    fields: Fields, dialect_name: str, price_provider: str | None, model_id: str, *, context_tokens: int | None = None
) -> int:
    """Return the most tokens of input that a provider can bill for a request.

    A tokenizer whose vocabulary has all bytes makes at most one token of each byte of text, and JSON only adds bytes to
    it: those of the names and quotes around a message are more than the marks that a vendor puts there. Data in base64
    is not text: images and sounds are bounded by their vendor's formula. What is not in the request (a file by its id
    or URL, a PDF's pages, an earlier response, what the provider's own tools find) is bounded by the model's context,
    which is read once for each time that such tools may run.

    Args:
        fields: The caller's request.
        dialect_name: The dialect that it is written in.
        price_provider: Who answers, by genai-prices' id.
        model_id: The provider's own name for the model.
        context_tokens: The model's context, where it is known.
    """
    tokens = _PER_REQUEST_OF.get(price_provider or "", _PER_REQUEST)
    is_unbounded = dialect_name == "responses" and not {"previous_response_id", "conversation", "prompt"}.isdisjoint(
        fields
    )
    for name, raw in fields.items():
        if name in _SAYS_NOTHING:
            continue
        size = memoryview(raw).nbytes
        tokens += size
        if name in _MAY_HAVE_MEDIA and _has(_MEDIA, raw):
            media = weigh(_decoded(raw), price_provider, model_id)
            tokens += media.tokens - media.data_bytes
            is_unbounded = is_unbounded or media.is_unbounded
    tokens += _tool_tokens(fields)
    rounds = most_tool_rounds(fields) + most_compactions(fields)
    if rounds or is_unbounded:
        return max(tokens, (context_tokens or _ANY_CONTEXT) * (1 + rounds))
    return tokens


def most_tool_rounds(fields: Fields) -> int:
    """Return how often a provider may run tools of its own, such as a web search: 0 where it is offered none.

    OpenAI's ``max_tool_calls`` says it, or ``max_uses`` of every such tool of Anthropic's; else it is taken to be 10.
    """
    if "web_search_options" in fields:
        return 1
    raw = fields.get("tools")
    if raw is None or not _has(_OWN_TOOLS, raw):
        return 0
    limit = _whole(fields.get("max_tool_calls"))
    if limit is not None:
        return max(0, limit)
    total = 0
    for tool in _tools(raw):
        if not _has(_OWN_TOOLS, tool):
            continue
        described = _decoded(tool)
        uses = described.get("max_uses") if isinstance(described, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(uses, int):
            return _ROUNDS
        total += max(0, uses)
    return total


def most_output_tokens(fields: Fields, model_limit: int | None) -> int | None:
    """Return the most tokens that a model can write: the caller's limit or the model's own, for every candidate.

    Args:
        fields: The caller's request.
        model_limit: The longest answer of the model; ``None`` where it is not known.

    Returns:
        ``None`` where neither is known.
    """
    asked = next((limit for name in OUTPUT_LIMITS if (limit := _whole(fields.get(name))) is not None), None)
    limits = [limit for limit in (asked, model_limit) if limit is not None]
    if not limits:
        return None
    foretold = memoryview(fields["prediction"]).nbytes if "prediction" in fields else 0
    foretold += most_compactions(fields) * (model_limit or max(0, min(limits)))
    return (max(0, min(limits)) + foretold) * max(1, _whole(fields.get("n")) or 1)


def most_compactions(fields: Fields) -> int:
    """Return how often Anthropic may compact a request's context by itself: each time it reads all of it again.

    It looks before each of its samplings. Source: Anthropic's page "compaction" (2026-10).
    """
    raw = fields.get("context_management")
    if raw is None or not _has(_COMPACT, raw):
        return 0
    return 1 + most_tool_rounds(fields)


def most_price_percent(
    fields: Fields, price_provider: str | None, model_id: str, default_geo: str | None = None
) -> int:
    """Return what a token may be billed at, of the list's price in per cent: inference in the US alone costs more.

    A workspace may have it for its default, so that only a request for ``global`` is surely without, or any other where
    the operator says that the default is ``global``.
    Source: Anthropic's page "data residency", pricing: 1.1 times for models since Opus 4.6; others refuse it (2026-10).
    """
    if price_provider != "anthropic" or model_id.startswith(_ANYWHERE):
        return 100
    raw = fields.get("inference_geo")
    asked = None if raw is None else _decoded(raw)
    return 100 if (default_geo if asked is None else asked) == "global" else 110


def asked_tier(fields: Fields) -> str | None:
    """Return the service tier that a caller asks for; ``None`` where it is left to the provider.

    Anthropic's fast mode is a ``speed`` on its wire, and billed as a tier is.
    """
    for name, only in (("speed", "fast"), ("service_tier", None)):
        raw = fields.get(name)
        asked = None if raw is None else _decoded(raw)
        if isinstance(asked, str) and only in (None, asked):
            return asked
    return None


def ruled_out(fields: Fields) -> frozenset[str]:
    """Name the kinds of tokens, by genai-prices' units, that a request cannot be billed for.

    Only who asks for a cache of one hour, or for sound, pays for it: `"1h"` or `audio` then stand in the request.
    """
    kinds: set[str] = set()
    if not any(_has(_ONE_HOUR, raw) for raw in fields.values()):
        kinds.add("cache_write_1h_mtok")
    if "modalities" not in fields and not any(_has(_AUDIO, raw) for raw in fields.values()):
        kinds |= {"input_audio_mtok", "cache_audio_read_mtok", "output_audio_mtok"}
    if not any(_has(_MEDIA, raw) for name, raw in fields.items() if name not in _SAYS_NOTHING):
        kinds |= {"input_image_mtok", "cache_image_read_mtok"}
    return frozenset(kinds)


def _has(names: re.Pattern[bytes], raw: msgspec.Raw) -> bool:
    return names.search(raw) is not None or _ESCAPE.search(raw) is not None


def _tool_tokens(fields: Fields) -> int:
    raw = fields.get("tools")
    if raw is None:
        return 0
    own = sum(_SCHEMA.search(tool) is None for tool in _tools(raw))
    return _TOOLS * (1 + own)


def _tools(raw: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _list.decode(raw) or []
    except msgspec.DecodeError:
        return []  # the provider says what is wrong with it


def _whole(raw: msgspec.Raw | None) -> int | None:
    try:
        return None if raw is None else _limit.decode(raw)
    except msgspec.DecodeError:
        return None  # the provider says what is wrong with it


def _decoded(raw: msgspec.Raw) -> object:
    try:
        return _any.decode(raw)
    except msgspec.DecodeError:
        return None
