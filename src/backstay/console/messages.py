"""Owns what was said in a call, as blocks that a page can show: bounded in size, whatever went over the wire. Pure."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from backstay.core.chat import (
    Audio,
    ChatRequest,
    ChatResponse,
    Document,
    Image,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolResult,
    ToolUse,
)

LONGEST_TEXT = 4_000
"""Characters of one block that a page shows; the rest is in the raw text."""

_FIRST_MESSAGES, _LAST_MESSAGES = 2, 20
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a message. ``place`` finds an inline picture again: its numbers within the call, joined by dots."""

    kind: Literal["text", "reasoning", "refusal", "picture", "file", "tool_use", "tool_result"]
    text: str = ""
    left_out: int = 0
    """Characters beyond what is shown."""
    title: str = ""
    note: str = ""
    place: str = ""
    is_error: bool = False
    blocks: tuple["Block", ...] = ()


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One message, or a gap of ``left_out`` messages."""

    role: str = ""
    name: str = ""
    note: str = ""
    blocks: tuple[Block, ...] = ()
    left_out: int = 0


def asked(request: ChatRequest, *, whole: bool = False) -> list[Shown]:
    """Show the messages of a request: all, or the first two and the last twenty."""
    messages = request.messages
    gap = len(messages) - _FIRST_MESSAGES - _LAST_MESSAGES
    shown = [
        Shown(role=message.role, name=message.name or "", blocks=_blocks(message.parts, str(index)))
        for index, message in enumerate(messages)
        if whole or gap <= 1 or not _FIRST_MESSAGES <= index < _FIRST_MESSAGES + gap
    ]
    if not whole and gap > 1:
        shown.insert(_FIRST_MESSAGES, Shown(left_out=gap))
    return shown


def answered(response: ChatResponse) -> list[Shown]:
    """Show the choices of an answer, each with why it ended where that is worth a word."""
    several = len(response.choices) > 1
    return [
        Shown(
            role="assistant",
            name=f"choice {choice.index}" if several else "",
            note="" if choice.finish_reason in (None, "stop") else choice.finish_reason,
            blocks=_blocks(choice.parts, f"a{choice.index}"),
        )
        for choice in response.choices
    ]


def indented(text: str) -> str:
    """Lay JSON out for reading; anything else stays as it is, however deep or damaged."""
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return text


def find_picture(request: ChatRequest, place: str) -> tuple[str, bytes] | None:
    """Return media type and bytes of an inline picture of a request; ``None`` if there is none at that place."""
    for index, message in enumerate(request.messages):
        for found, part in _places(message.parts, str(index)):
            if found == place and isinstance(part, Image) and part.data and part.media_type in _PICTURES:
                try:
                    return part.media_type, base64.b64decode(part.data, validate=True)
                except binascii.Error:
                    return None
    return None


def _places(parts: Sequence[Part], place: str) -> Iterator[tuple[str, Part]]:
    for index, part in enumerate(parts):
        here = f"{place}.{index}"
        yield here, part
        if isinstance(part, ToolResult):
            yield from _places(part.parts, here)


def _blocks(parts: Sequence[Part], place: str) -> tuple[Block, ...]:
    return tuple(_block(part, f"{place}.{index}") for index, part in enumerate(parts))


def _block(part: Part, place: str) -> Block:
    match part:
        case Text():
            return _text("text", part.text, note=f"cached for {part.cache}" if part.cache else "")
        case Reasoning():
            return _text("reasoning", part.text, note="redacted by the provider" if part.redacted else "")
        case Refusal():
            return _text("refusal", part.text)
        case ToolUse():
            return _text("tool_use", indented(part.arguments or "{}"), title=part.name, note=part.id)
        case ToolResult():
            return Block(
                kind="tool_result",
                title=part.tool_use_id,
                is_error=part.is_error,
                blocks=_blocks(part.parts, place),
            )
        case Image():
            is_inline = bool(part.data) and part.media_type in _PICTURES
            kind = part.media_type or "picture"
            return Block(
                kind="picture",
                title=part.url or f"{kind}, {_size(part.data)}",
                place=place if is_inline else "",
            )
        case Document():
            title = part.name or part.url or part.file_id or part.media_type or "document"
            return _text("file", part.text or "", title=title, note=_size(part.data) if part.data else "")
        case Audio():
            return Block(kind="file", title=f"{part.format} audio", note=_size(part.data))


def _text(
    kind: Literal["text", "reasoning", "refusal", "file", "tool_use"], text: str, *, title: str = "", note: str = ""
) -> Block:
    return Block(kind=kind, text=text[:LONGEST_TEXT], left_out=max(0, len(text) - LONGEST_TEXT), title=title, note=note)


def _size(data: str | None) -> str:
    size_bytes = len(data or "") * 3 // 4
    return f"{size_bytes / 1024:.0f} KB" if size_bytes >= 1024 else f"{size_bytes} bytes"
