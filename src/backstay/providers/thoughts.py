"""Owns thoughts of other vendors' models in a request that goes to a vendor in its own dialect: they are taken out.

A conversation may have turns that another vendor's model answered, when the usual one was down. What that one thought
is marked on the caller's wire (``signatures.py``), and comes back with the next turn. Its own vendor gets it; others
would refuse it: "Invalid `signature` in `thinking` block". All else stays as it came.

Source: https://github.com/openclaw/openclaw/issues/91205 and https://github.com/anomalyco/opencode/issues/3077, with
Anthropic's own messages (2026-01); the latter says what a final assistant message must begin with.
"""

import re
from collections.abc import Callable

import msgspec

from backstay.core.errors import Untranslatable
from backstay.providers.responses.wire import OWN_REASONING
from backstay.providers.types import Fields

_MARKED = re.compile(rb'"signature"\s*:\s*"[^":]+:')
_MADE_HERE = re.compile(rb'"id"\s*:\s*"' + OWN_REASONING.encode())


class _Block(msgspec.Struct, frozen=True):
    """What tells a thought of a message of Anthropic's, or of an item of OpenAI's."""

    type: str | None = None
    signature: str | None = None
    id: str | None = None


class _Thinking(msgspec.Struct, frozen=True):
    type: str | None = None


def without_foreign_thoughts(fields: Fields, dialect: str) -> Fields:
    """Return a request of a dialect without the thoughts of other vendors' models.

    Raises:
        Untranslatable: Anthropic's model is to think on, where another's thoughts led to the last tool calls.
    """
    try:
        if dialect == "anthropic" and _MARKED.search(fields.get("messages", b"")):
            return _without_marked(fields)
        if dialect == "responses" and _MADE_HERE.search(fields.get("input", b"")):
            return {**fields, "input": _filtered(fields["input"], _is_made_here)[0]}
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # its vendor says what is wrong with it
    return fields


def _without_marked(fields: Fields) -> Fields:
    kept: list[Fields] = []
    is_last_foreign = False
    for message in msgspec.json.decode(fields["messages"], type=list[Fields]):
        content, has_foreign, calls = message.get("content", msgspec.Raw(b"null")), False, False
        if bytes(content)[:1] == b"[":
            content, has_foreign = _filtered(content, _is_marked)
            calls = any(block.type == "tool_use" for block in msgspec.json.decode(content, type=list[_Block]))
        if bytes(message.get("role", b"")) == b'"assistant"':
            is_last_foreign = has_foreign and calls
        if bytes(content) != b"[]":
            kept.append({**message, "content": content})
    thinking = msgspec.json.decode(fields.get("thinking", b"null"), type=_Thinking | None)
    if is_last_foreign and thinking is not None and thinking.type == "enabled":
        raise Untranslatable(
            "thinking: another vendor's model thought before the last tool calls, and Anthropic's go on with their own "
            "thoughts only. Leave it out for this turn, or let the model go on that called the tools.",
            param="thinking",
        )
    return {**fields, "messages": msgspec.Raw(msgspec.json.encode(kept))}


def _filtered(items: msgspec.Raw, is_foreign: Callable[[_Block], bool]) -> tuple[msgspec.Raw, bool]:
    """Return a list without what is foreign, and whether there was any."""
    each = msgspec.json.decode(items, type=list[msgspec.Raw])
    kept = [item for item in each if not (bytes(item)[:1] == b"{" and is_foreign(_read(item)))]
    return msgspec.Raw(msgspec.json.encode(kept)), len(kept) < len(each)


def _read(item: msgspec.Raw) -> _Block:
    return msgspec.json.decode(item, type=_Block)


def _is_marked(block: _Block) -> bool:
    return block.type == "thinking" and ":" in (block.signature or "")


def _is_made_here(item: _Block) -> bool:
    return item.type == "reasoning" and (item.id or "").startswith(OWN_REASONING)
