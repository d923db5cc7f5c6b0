"""Owns the shapes of OpenAI's responses, whole and streamed, as far as anything reads them.

Lenient on purpose, as for chat completions: vLLM, Ollama, OpenRouter and LM Studio serve this wire too.
Source: openai Python SDK 3.54.0, ``types/responses``; OpenAI's OpenAPI document (2026-08).
"""

from typing import Any, cast

import msgspec

from backstay.core.chat import FinishReason
from backstay.core.usage import NO_USAGE, Usage

OWN_REASONING = "rs_bs_"
"""How the ids of reasoning items begin that Backstay wrote for another dialect's model."""

REDACTED = "redacted:"
"""What goes before redacted reasoning of another dialect in ``encrypted_content``."""

SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})

LOGPROBS = "message.output_text.logprobs"
"""What ``include`` says to get log probabilities."""

ENCRYPTED_REASONING = "reasoning.encrypted_content"


class InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class Content(msgspec.Struct, gc=False):
    """A part of a message's or a reasoning item's content."""

    type: str
    text: str = ""
    refusal: str = ""
    logprobs: list[Any] | None = None


class Item(msgspec.Struct, gc=False):
    """An output item of any type; what only hosted tools' items have is left out."""

    type: str
    id: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")
    summary: msgspec.Raw = msgspec.Raw(b"null")
    encrypted_content: str | None = None
    status: Any = None
    phase: Any = None
    """Of a message: whether it is ``commentary`` or the ``final_answer``; many models do not say."""
    call_id: Any = ""
    name: Any = ""
    arguments: Any = ""
    """Text of a function's call; hosted tools may have an object."""
    action: Any = None
    """What a web search did: ``search``, which is billed, or ``open_page`` and the like, which are not."""


class Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class Whole(msgspec.Struct, gc=False):
    output: list[Item]
    id: str = ""
    model: str = ""
    status: str | None = None
    created_at: float | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None
    incomplete_details: Incomplete | None = None
    error: Any = None


class Snapshot(Whole, gc=False):
    """A response as far as it has come, inside an event."""

    output: list[Item] = []


class Event(msgspec.Struct, gc=False):
    """Any event of a stream, told apart by ``type``."""

    type: str
    sequence_number: int | None = None
    response: Snapshot | None = None
    item: Item | None = None
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None
    text: str | None = None
    arguments: str | None = None
    logprobs: list[Any] | None = None
    error: Any = None
    message: str | None = None
    code: str | None = None


def read_contents(raw: msgspec.Raw) -> list[Content]:
    """Read the content or summary of an item; none where it has none."""
    return msgspec.json.decode(raw, type=list[Content] | None) or []


def read_signature(item_id: str | None, encrypted: str) -> str:
    """Return the neutral signature of encrypted reasoning.

    OpenAI's is bound to its item's id, so both travel as one. What Backstay wrote for another dialect's model is that
    model's signature as it was.
    """
    return encrypted if item_id is None or item_id.startswith(OWN_REASONING) else f"{item_id}:{encrypted}"


def split_signature(signature: str) -> tuple[str, str] | None:
    """Return the item's id and the encrypted content of a signature of OpenAI's; ``None`` for another vendor's."""
    item_id, _, encrypted = signature.partition(":")
    return (item_id, encrypted) if item_id.startswith("rs_") and encrypted else None


def read_usage(wire: WireUsage | None, searches: int = 0, storage_searches: int = 0) -> Usage:
    """Read token counts."""
    if wire is None:
        return NO_USAGE
    read, written = wire.input_tokens_details or InputDetails(), wire.output_tokens_details or OutputDetails()
    return Usage(
        input_tokens=wire.input_tokens,
        output_tokens=wire.output_tokens,
        cache_read_tokens=read.cached_tokens or 0,
        cache_write_tokens=read.cache_write_tokens or 0,
        reasoning_tokens=written.reasoning_tokens or 0,
        web_searches=searches,
        storage_searches=storage_searches,
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Write token counts; what is not known is 0, as the wire demands numbers."""
    read, written = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": read + written,
    }


def read_finish(whole: Whole, *, has_tools: bool, has_refusal: bool) -> FinishReason | None:
    """Read why a response ended; ``None`` while it has not."""
    match whole.status:
        case "completed" | None:
            return "tool_calls" if has_tools else "refusal" if has_refusal else "stop"
        case "incomplete":
            reason = whole.incomplete_details.reason if whole.incomplete_details is not None else None
            return "content_filter" if reason == "content_filter" else "length"
        case "failed" | "cancelled":
            return "error"
        case _:
            return None


def write_logprobs(logprobs: Any) -> list[dict[str, Any]]:
    """Write the tokens of chat completions' ``logprobs`` object."""
    if not isinstance(logprobs, dict):
        return []
    tokens: list[dict[str, Any]] = cast(dict[str, Any], logprobs).get("content") or []
    return [
        _token(token) | {"top_logprobs": [_token(other) for other in token.get("top_logprobs") or ()]}
        for token in tokens
    ]


def read_logprobs(tokens: list[Any]) -> dict[str, Any]:
    """Read tokens into chat completions' ``logprobs`` object, which the neutral form has."""
    return {"content": [{"bytes": None, "top_logprobs": [], **token} for token in tokens], "refusal": None}


def _token(token: dict[str, Any]) -> dict[str, Any]:
    text: str = token["token"]
    size = token.get("bytes")
    return {
        "token": text,
        "logprob": token["logprob"],
        "bytes": list(text.encode("utf-8", "replace")) if size is None else size,
    }
