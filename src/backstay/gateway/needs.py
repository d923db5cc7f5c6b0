"""Owns what a request asks of a target, and why a target cannot give it. Pure."""

import re
from typing import Any, cast

import msgspec

from backstay.gateway.types import Ability, Incoming, Target
from backstay.providers import Fields

_IMAGES = frozenset({"image_url", "image", "input_image"})
_MAYBE_AN_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image_url|image|input_image)"')
"""A tool's arguments may say so too: where it is found, the messages are read."""
_MOST_BYTES_PER_TOKEN = 6
"""Text of more bytes a token than this is rare in any language: a prompt that is too long by this measure is too long
by every other. What is near the limit is left to the provider to judge."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What answering a request takes."""

    tools: bool = False
    images: bool = False
    json_schema: bool = False
    least_input_tokens: int = 0


def read_needs(fields: Fields, size_bytes: int) -> Needs:
    """Find out what a request needs, as far as that goes without reading its values."""
    said = fields.get("messages") or fields.get("input") or b""
    return Needs(
        tools=any(_has_some(fields.get(name, b"")) for name in ("tools", "functions")),
        images=_MAYBE_AN_IMAGE.search(said) is not None and _has_image(msgspec.json.decode(said)),
        json_schema=any(
            b'"json_schema"' in bytes(fields.get(name, b"")) for name in ("response_format", "output_config", "text")
        )
        or "output_format" in fields,
        least_input_tokens=size_bytes // _MOST_BYTES_PER_TOKEN,
    )


def _has_some(items: bytes | memoryview) -> bool:
    """Whether a field is more than null or an empty list."""
    return re.fullmatch(rb"\s*(?:null|\[\s*\])?\s*", items) is None


def _has_image(items: Any) -> bool:
    """Whether there is an image among messages, their parts, or what is in a tool's result."""
    if not isinstance(items, list):
        return False
    objects = [cast(dict[str, Any], item) for item in cast(list[Any], items) if isinstance(item, dict)]
    return any(
        item.get("type") in _IMAGES or _has_image(item.get("content")) or _has_image(item.get("output"))
        for item in objects
    )


def why_not(target: Target, needs: Needs, incoming: Incoming) -> str | None:
    """Say why a target cannot take a request; ``None`` where it can."""
    can: Ability = target.can
    if needs.tools and not can.tools:
        return "it has no tools"
    if needs.images and not can.images:
        return "it takes no images"
    if needs.json_schema and not can.json_schema:
        return "it keeps to no JSON schema"
    if can.context_tokens is not None and needs.least_input_tokens > can.context_tokens:
        return f"the prompt has at least {needs.least_input_tokens:,} tokens, it takes {can.context_tokens:,}"
    if can.tenants is not None and incoming.caller.tenant_id not in can.tenants:
        return "it is not for this tenant"
    if can.tags is not None and not can.tags.intersection(incoming.tags):
        return f"it is for calls tagged {' or '.join(sorted(can.tags))}"
    return None
