"""Owns the beginning of a prompt that other calls may share: tools and system text, whatever the dialect. Pure."""

import hashlib
from typing import Any, cast

import msgspec

LEAST_TOKENS = 1024
"""The least that OpenAI and most of Anthropic's models cache.

Sources: those of gateway/prompt_caching.py (2026-11).
"""
KEPT_US = 5 * 60 * 1_000_000
"""How long a provider keeps a prefix that nobody reads, in microseconds. Source: as above."""

_FIELDS = ("tools", "functions", "toolConfig", "system", "instructions")
_SAID = ("messages", "input")
_SYSTEM = ("system", "developer")
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Prefix(msgspec.Struct, frozen=True):
    digest: bytes
    tokens: int
    """Estimated: the prompt's tokens by its share of the prompt's bytes."""


def find_prefix(body: bytes, input_tokens: int) -> Prefix | None:
    """Find what a request begins with, if it is long enough to be cached."""
    try:
        fields = _decoder.decode(body)
        parts, said_bytes = _leading(fields)
    except (msgspec.DecodeError, UnicodeDecodeError):  # not JSON: the provider refused it
        return None
    parts = [bytes(fields[name]) for name in _FIELDS if name in fields] + parts
    size = sum(map(len, parts))
    tokens = input_tokens * size // (size + said_bytes) if size else 0
    if tokens < LEAST_TOKENS:
        return None
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return Prefix(digest.digest(), tokens)


def _leading(fields: dict[str, msgspec.Raw]) -> tuple[list[bytes], int]:
    """Give the system's messages at the beginning, and how many bytes follow them."""
    said = next((fields[name] for name in _SAID if name in fields), None)
    if said is None:
        return [], 0
    messages = msgspec.json.decode(said)
    if not isinstance(messages, list):
        return [], len(said)
    parts, size = list[bytes](), 0
    for message in cast(list[Any], messages):
        text = msgspec.json.encode(message)
        is_system = isinstance(message, dict) and cast(dict[str, Any], message).get("role") in _SYSTEM
        if is_system and not size:
            parts.append(text)
        else:
            size += len(text)
    return parts, size
