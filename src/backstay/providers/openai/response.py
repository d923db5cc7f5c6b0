"""Owns whole answers of OpenAI's chat completions and embeddings: reading, summing up and writing."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from backstay.core.chat import (
    ChatResponse,
    Choice,
    FinishReason,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolUse,
)
from backstay.providers.decoding import decode_answer
from backstay.providers.openai import wire
from backstay.providers.signatures import signature_for
from backstay.providers.types import ReplySummary

_summary = msgspec.json.Decoder(wire.Summary)
_embeddings = msgspec.json.Decoder(wire.EmbeddingsSummary)
_whole = msgspec.json.Decoder(wire.Whole)


def read_summary(body: bytes) -> ReplySummary:
    """Read what the books need of a chat answer. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_summary, body)
    reasons: list[FinishReason] = []
    for choice in found.choices:
        if choice.finish_reason:
            reasons.append(wire.read_finish(choice.finish_reason))
    return ReplySummary(
        id=found.id,
        model=found.model,
        usage=wire.read_usage(found.usage),
        finish_reasons=tuple(reasons),
        service_tier=found.service_tier,
    )


def read_embeddings_summary(body: bytes) -> ReplySummary:
    """Read what the books need of an embeddings answer. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_embeddings, body)
    usage = found.usage
    if usage is not None and usage.prompt_tokens is None:
        usage.prompt_tokens = usage.total_tokens  # all that Voyage says
    return ReplySummary(model=found.model, usage=wire.read_usage(usage))


def read_response(body: bytes) -> ChatResponse:
    """Read a chat answer whole. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_whole, body)
    return ChatResponse(
        id=found.id or "",
        model=found.model or "",
        created_s=int(found.created or 0),
        choices=tuple(_read_choice(choice) for choice in found.choices),
        usage=wire.read_usage(found.usage),
        service_tier=found.service_tier,
        system_fingerprint=found.system_fingerprint,
    )


def _read_choice(choice: wire.WholeChoice) -> Choice:
    said = choice.message
    reasoning, text = said_texts(said)
    parts: list[Part] = []
    if reasoning:
        parts.append(Reasoning(text=reasoning))
    if text:
        parts.append(Text(text=text))
    if said.refusal:
        parts.append(Refusal(text=said.refusal))
    if said.audio is not None and said.audio.transcript:
        parts.append(Text(text=said.audio.transcript))
    for index, call in enumerate(said.tool_calls or ()):
        function = call.function or wire.Function()
        name, arguments = function.name or "", arguments_text(function.arguments)
        parts.append(ToolUse(id=call.id or f"call_{index}", name=name, arguments=arguments))
    return Choice(
        index=choice.index,
        parts=tuple(parts),
        finish_reason=wire.read_finish(choice.finish_reason) if choice.finish_reason else None,
        logprobs=choice.logprobs,
    )


def said_texts(said: wire.Said) -> tuple[str, str]:
    """Return a message's reasoning and text. Mistral sends both as a list of typed parts where a model thinks."""
    reasoning = said.reasoning_content or said.reasoning or ""
    if said.content is None or isinstance(said.content, str):
        return reasoning, said.content or ""
    return reasoning + _joined(said.content, "thinking"), _joined(said.content, "text")


def _joined(parts: list[dict[str, Any]], kind: str) -> str:
    found: list[str] = []
    for part in parts:
        value: Any = part.get(kind) if part.get("type") == kind else None
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found.append(_joined(cast(list[dict[str, Any]], value), "text"))
    return "".join(found)


def arguments_text(arguments: Any) -> str:
    """Return a tool call's arguments as JSON text."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return msgspec.json.encode(arguments).decode()


def write_response(response: ChatResponse) -> bytes:
    """Write a chat answer."""
    body: dict[str, Any] = {
        "id": response.id,
        "object": "chat.completion",
        "created": response.created_s,
        "model": response.model,
        "choices": [_write_choice(choice) for choice in response.choices],
        "usage": wire.write_usage(response.usage),
    }
    if response.service_tier in wire.SERVICE_TIERS:
        body["service_tier"] = response.service_tier
    if response.system_fingerprint is not None:
        body["system_fingerprint"] = response.system_fingerprint
    return msgspec.json.encode(body)


def _write_choice(choice: Choice) -> dict[str, Any]:
    text = "".join(part.text for part in choice.parts if isinstance(part, Text))
    refusal = "".join(part.text for part in choice.parts if isinstance(part, Refusal))
    reasoning = "".join(part.text for part in choice.parts if isinstance(part, Reasoning))
    calls = _write_tool_calls(choice.parts)
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": refusal or None}
    if not text and not refusal and not calls:
        message["content"] = ""
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return {
        "index": choice.index,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": wire.WRITE_FINISH[choice.finish_reason or "stop"],
    }


def _write_tool_calls(parts: Iterable[Part]) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    before: Part | None = None
    for part in parts:
        if isinstance(part, ToolUse):
            signature = before.signature if isinstance(before, Reasoning) else None
            calls.append(write_tool_call(part) | write_thought_signature(signature))
        before = part
    return calls


def write_thought_signature(signature: str | None) -> dict[str, Any]:
    """Write the signature that Gemini wants back with a tool call, as Google's own endpoint of this dialect does.

    Source: https://ai.google.dev/gemini-api/docs/thought-signatures, "OpenAI compatibility" (2026-11).
    """
    own = signature_for("gemini", signature)
    return {} if own is None else {"extra_content": {"google": {"thought_signature": own}}}


def write_tool_call(part: ToolUse) -> dict[str, Any]:
    """Write a tool call of an assistant's message."""
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
