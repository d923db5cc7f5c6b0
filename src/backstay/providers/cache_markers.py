"""Owns prompt-cache markers: Anthropic's ``cache_control``, which many send inside OpenAI's parts and tools as well."""

from typing import Any

from backstay.providers.fields import ObjectReader


def read_cache_marker(reader: ObjectReader) -> str | None:
    """Read how long the prompt up to here is to be cached, ``5m`` or ``1h``; ``None``: no marker."""
    marker = reader.object("cache_control")
    if marker is None:
        return None
    kind, ttl = marker.required("type", str), marker.optional("ttl", str)
    if kind != "ephemeral":
        marker.extras[marker.at("type")] = kind
    marker.finish()
    return ttl or "5m"


def write_cache_marker(ttl: str | None) -> dict[str, Any]:
    """Write a marker; nothing where there is none."""
    if ttl is None:
        return {}
    return {"cache_control": {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}}
