"""Owns the neutral form of a chat: what every dialect can be read into and written from.

A call that enters and leaves in the same dialect never takes this form on its way (its bytes pass untouched); traces,
translation, guardrails and people read it.
"""

from typing import Any, Literal

import msgspec

from backstay.core.usage import Usage

Role = Literal["system", "developer", "user", "assistant", "tool"]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "stop_sequence", "refusal", "pause", "error"]
"""Why the model stopped: end of turn, output limit, it wants tools run, provider's filter, a stop sequence of the
caller, the model refused, a long turn was paused, the provider failed midway."""


class Text(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    text: str
    cache: str | None = None
    """A prompt-cache breakpoint after this part: its time to live, ``5m`` or ``1h``."""


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """An image by URL, or inline as base64 with its media type."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: str | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="document"):
    """A file, such as a PDF: by URL, by provider's file id, inline as base64, or as plain text."""

    url: str | None = None
    file_id: str | None = None
    data: str | None = None
    text: str | None = None
    media_type: str | None = None
    name: str | None = None
    cache: str | None = None


class Audio(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="audio"):
    data: str
    format: str


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_use"):
    """The model asks for a tool. ``arguments`` is JSON text as the model wrote it: it may not parse."""

    id: str
    name: str
    arguments: str
    cache: str | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_result"):
    tool_use_id: str
    parts: tuple[Text | Image | Document, ...]
    is_error: bool = False
    cache: str | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """What the model thought. ``signature`` and ``redacted`` are the provider's own and go back to it unchanged."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    text: str


Part = Text | Image | Document | Audio | ToolUse | ToolResult | Reasoning | Refusal


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    description: str | None = None
    schema: dict[str, Any] = {}
    strict: bool | None = None
    cache: str | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``auto``: the model decides; ``none``; ``any``: at least one; ``tool``: the one named."""

    mode: Literal["auto", "none", "any", "tool"]
    name: str | None = None


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """JSON wanted: any object (``schema`` is ``None``) or one that fits a JSON schema."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat request in neutral form. ``None`` means that the caller left it to the model."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    stream_usage: bool = True
    """Whether the caller wants usage at the end of a stream (OpenAI's ``stream_options.include_usage``)."""
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    candidates: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_format: OutputFormat | None = None
    reasoning_effort: str | None = None
    reasoning_budget_tokens: int | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    caller_dialect: str = "openai"
    """The dialect that it was read from, whose names of fields a refusal uses."""
    extras: dict[str, Any] = {}
    """Fields of the caller's dialect that have no neutral form, by name."""


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    index: int
    parts: tuple[Part, ...]
    finish_reason: FinishReason | None
    stop_sequence: str | None = None
    logprobs: Any = None
    """OpenAI's ``logprobs`` object, as it came."""


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    model: str
    created_s: int
    """Unix time in seconds."""
    choices: tuple[Choice, ...]
    usage: Usage = Usage()
    service_tier: str | None = None
    system_fingerprint: str | None = None


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="started"):
    id: str
    model: str
    created_s: int
    usage: Usage | None = None


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    text: str
    choice: int = 0
    logprobs: Any = None


class ReasoningDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    text: str
    choice: int = 0


class ToolUseStarted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_use_started"):
    """A tool call opens; ``index`` counts the tool calls of its choice from 0."""

    index: int
    id: str
    name: str
    choice: int = 0


class ToolUseDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_use"):
    """More of a tool call's arguments, as JSON text."""

    index: int
    arguments: str
    choice: int = 0


class Finished(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    reason: FinishReason
    stop_sequence: str | None = None
    choice: int = 0


class UsageReported(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="usage"):
    usage: Usage
    service_tier: str | None = None


class StreamFailed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="failed"):
    """The provider reported an error inside a stream that had begun."""

    message: str
    code: str | None = None


ChatEvent = (
    Started
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolUseStarted
    | ToolUseDelta
    | Finished
    | UsageReported
    | StreamFailed
)
"""One step of a streamed answer, in neutral form. A stream is: Started, deltas, Finished per choice, UsageReported."""
