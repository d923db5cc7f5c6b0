"""Owns whole answers of Gemini's generateContent: reading, summing up and writing."""

from collections.abc import Iterable
from typing import Any

import msgspec

from backstay.core.chat import ChatResponse, Choice, FinishReason, Part, Reasoning, Refusal, Text, ToolUse
from backstay.core.clock import Clock
from backstay.core.errors import ProviderError, ProviderUnreadable
from backstay.providers.anthropic.tool_input import read_input, write_input
from backstay.providers.decoding import decode_answer
from backstay.providers.gemini import wire
from backstay.providers.gemini.request_reader import add_part
from backstay.providers.signatures import signature_for
from backstay.providers.types import ReplySummary

_summary = msgspec.json.Decoder(wire.Summary)
_whole = msgspec.json.Decoder(wire.Answer)


def read_summary(body: bytes) -> ReplySummary:
    """Read what the books need of an answer. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_summary, body)
    _check(found)
    reasons: list[FinishReason] = [
        wire.read_finish(candidate.finish_reason, calls_a_tool=candidate.calls_a_tool)
        for candidate in found.candidates or ()
        if candidate.finish_reason
    ]
    return ReplySummary(
        id=found.response_id,
        model=found.model_version,
        usage=wire.read_usage(found.usage_metadata, wire.count_searches(found.candidates, found.model_version)),
        finish_reasons=tuple(reasons) if found.candidates else ("content_filter",),
        service_tier=wire.read_tier(found.usage_metadata),
    )


def _check(found: wire.Summary | wire.Answer) -> None:
    """Raise ``ProviderError`` for an answer with neither candidates nor the reason why there are none."""
    if not found.candidates and (found.prompt_feedback is None or found.prompt_feedback.block_reason is None):
        raise ProviderUnreadable("The provider's answer cannot be read: it has no candidates.")


def read_response(body: bytes, clock: Clock) -> ChatResponse:
    """Read an answer whole. The wire does not say when it was made: that is now.

    Raises:
        ProviderError: It is none, or the model failed at it (``MALFORMED_FUNCTION_CALL`` and the like).
    """
    found = decode_answer(_whole, body)
    _check(found)
    blocked = Choice(index=0, parts=(), finish_reason="content_filter")
    return ChatResponse(
        id=found.response_id or "",
        model=found.model_version or "",
        created_s=clock.now_ns() // 1_000_000_000,
        choices=tuple(_read_candidate(found, candidate) for candidate in found.candidates or ()) or (blocked,),
        usage=wire.read_usage(found.usage_metadata, wire.count_searches(found.candidates, found.model_version)),
        service_tier=wire.read_tier(found.usage_metadata),
    )


def _read_candidate(found: wire.Answer, candidate: wire.Candidate) -> Choice:
    parts: list[Part] = []
    tools = 0
    for part in (candidate.content and candidate.content.parts) or ():
        add_part(parts, _read_part(part, call_id(found.response_id, candidate.index, tools)), part.thought_signature)
        tools += part.function_call is not None
    reason = None
    if candidate.finish_reason:
        reason = wire.read_finish(candidate.finish_reason, calls_a_tool=tools > 0)
        if reason == "error":
            raise failure_of(candidate)
    logprobs = wire.read_logprobs(candidate.logprobs_result)
    return Choice(index=candidate.index, parts=tuple(parts), finish_reason=reason, logprobs=logprobs)


def failure_of(candidate: wire.Candidate) -> ProviderError:
    """Make the error for an answer that the model could not finish. Another try often can."""
    reason = candidate.finish_reason or "OTHER"
    said = f" {candidate.finish_message}" if candidate.finish_message else ""
    return ProviderError(f"The model failed to answer: {reason}.{said}", provider_code=reason, retryable=True)


def call_id(response_id: str | None, candidate: int, index: int) -> str:
    """Make the id of a tool call that has none: callers tell calls apart by it, over a whole conversation."""
    place = str(index) if candidate == 0 else f"{candidate}_{index}"
    return f"call_{response_id}_{place}" if response_id else f"call_{place}"


def check_media(part: wire.Part) -> None:
    """Raise ``ProviderError`` for a picture or sound in an answer: no wire of the callers can carry it."""
    if part.inline_data is not None:
        message = "The model answered with a picture or sound, which cannot be passed on. Choose a model of text."
        raise ProviderError(message, kind="invalid_request")


def _read_part(part: wire.Part, fallback_id: str) -> Part | None:
    check_media(part)
    if part.function_call is not None:
        call = part.function_call
        return ToolUse(id=call.id or fallback_id, name=call.name, arguments=read_input(bytes(call.args)))
    if part.text is None:  # what Google's own servers ran in the course of the answer
        return None
    return Reasoning(text=part.text) if part.thought else Text(text=part.text)


def write_response(response: ChatResponse) -> bytes:
    """Write an answer."""
    body: dict[str, Any] = {
        "candidates": [_write_choice(choice) for choice in response.choices],
        "usageMetadata": wire.write_usage(response.usage, response.service_tier),
        "modelVersion": response.model,
        "responseId": response.id,
    }
    return msgspec.json.encode(body)


def _write_choice(choice: Choice) -> dict[str, Any]:
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": write_parts(choice.parts)},
        "finishReason": wire.WRITE_FINISH["refusal" if refused else choice.finish_reason or "stop"],
        "index": choice.index,
    }
    if choice.logprobs is not None:
        candidate["logprobsResult"] = wire.write_logprobs(choice.logprobs)
    return candidate


def write_parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Write the parts of an answer. A thought's signature stands on the part after it, or on an empty one."""
    written: list[dict[str, Any]] = []
    signature: str | None = None
    for part in parts:
        if isinstance(part, Reasoning):
            written += signature_alone(signature)
            signature = signature_for("gemini", part.signature)
            written += [{"text": part.text, "thought": True}] if part.text else []
            continue
        written.append(_write_part(part) | ({} if signature is None else {"thoughtSignature": signature}))
        signature = None
    return written + signature_alone(signature)


def signature_alone(signature: str | None) -> list[dict[str, Any]]:
    """Write a signature as a part of its own, as it comes at the end of a stream; none where there is none."""
    return [] if signature is None else [{"text": "", "thoughtSignature": signature}]


def _write_part(part: Part) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"text": part.text}
        case ToolUse():
            return {"functionCall": {"id": part.id, "name": part.name, "args": write_input(part.arguments)}}
        case _:
            raise TypeError(f"an answer does not hold a {type(part).__name__}")
