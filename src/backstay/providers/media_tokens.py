"""Owns how many tokens images, files and sounds can be at most, by the vendors' published formulas. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_ANY_IMAGE = 10_000
"""An image of any vendor: the largest published budget, OpenAI's for ``detail: original``."""

_TILES = 8
"""What fits into 2,048 × 2,048 with a short side of 768, in squares of 512 (OpenAI, images and vision, 2026-11)."""

_OPENAI_IMAGES: tuple[tuple[str, int], ...] = (
    ("gpt-4o-mini", 2_833 + _TILES * 5_667),
    ("gpt-4o", 85 + _TILES * 170),
    ("gpt-4.1", 85 + _TILES * 170),
    ("gpt-4.1-mini", 2_489),
    ("gpt-4.1-nano", 3_779),
    ("o4-mini", 2_642),
    ("o1", 75 + _TILES * 150),
    ("o3", 75 + _TILES * 150),
)
"""How a model's name begins and its largest image: tiles, or 1,536 patches times the model's factor (1.62, 2.46, 1.72).
Source: developers.openai.com/api/docs/guides/images-vision, "calculating costs" (2026-11)."""

_LOWER_RESOLUTION = ("claude-3", "claude-sonnet-4", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2025",
                     "claude-opus-4-5", "claude-opus-4-6", "claude-haiku-4-5")  # fmt: skip
_AUDIO_CHARACTERS_PER_TOKEN = 16
"""Of base64. Gemini counts 32 tokens a second (ai.google.dev, audio understanding, 2026-11); speech codecs use at least
6 kbit/s, which are 1,000 characters of base64: twice as many tokens as that makes."""


class Media(NamedTuple):
    """What a request has beside text: how much of its body is data, and how many tokens that can be."""

    data_bytes: int
    tokens: int
    is_unbounded: bool = False
    """Whether it has a file of unknown length: then only the model's context bounds it."""


def most_image_tokens(price_provider: str | None, model_id: str) -> int:
    """Return the most tokens that an image of unknown size can be.

    Anthropic scales images down to about 1,600 tokens, newer models to 4,784 (platform.claude.com, vision, 2026-11).
    Gemini cuts them into tiles of 258 tokens, in Gemini 3 by a resolution of up to 2,240 tokens (ai.google.dev, image
    understanding and media resolution, 2026-11): 16 tiles are an image five times as long as wide.
    """
    if price_provider == "openai":
        sizes = [(len(name), size) for name, size in _OPENAI_IMAGES if model_id.startswith(name)]
        return max(sizes)[1] if sizes else _ANY_IMAGE
    if price_provider == "anthropic":
        return 1_640 if model_id.startswith(_LOWER_RESOLUTION) else 4_784
    if price_provider == "google":
        return 16 * 258
    return _ANY_IMAGE


def weigh(value: Any, image_tokens: int) -> Media:
    """Weigh all media in a decoded field, in OpenAI's, Anthropic's, Google's or Amazon's form."""
    data = tokens = 0
    is_unbounded = False
    for kind, payload in _find(value):
        size = sum(len(text) for text in _data(payload))
        data += size
        if kind == "image":
            tokens += image_tokens
        elif kind == "audio":
            tokens += size // _AUDIO_CHARACTERS_PER_TOKEN + image_tokens
        else:
            is_unbounded = True
    return Media(data, tokens, is_unbounded)


_KINDS = {
    "image_url": "image", "input_image": "image", "image": "image", "computer_screenshot": "image",
    "input_audio": "audio", "audio": "audio",
    "file": "file", "input_file": "file", "document": "file", "container_upload": "file", "video": "file",
}  # fmt: skip


def _find(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Find each object that is of a kind of media, by its ``type`` or, in Amazon's and Google's form, by its name."""
    if isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _find(item)
    elif isinstance(value, dict):
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        kind = _kind(fields)
        if kind is not None and not _is_text(fields):
            yield kind, fields
        elif fields.get("type") != "tool_use":  # what the model said to a tool is text, whatever it looks like
            for item in fields.values():
                yield from _find(item)


def _kind(fields: Mapping[str, Any]) -> str | None:
    named = fields.get("type")
    if isinstance(named, str):
        return _KINDS.get(named)
    for name in ("image", "document", "video", "audio"):
        if isinstance(fields.get(name), dict):
            return _KINDS[name]
    if any(name in fields for name in ("inlineData", "inline_data", "fileData", "file_data")):
        return "file"
    return None


def _is_text(fields: Mapping[str, Any]) -> bool:
    """Whether a document is text, or blocks that are looked through like all others."""
    source = fields.get("source")
    return isinstance(source, dict) and source.get("type") in ("text", "content")  # pyright: ignore[reportUnknownMemberType]


def _data(value: Any) -> Iterator[str]:
    """Give the strings that are data and not text: base64, as it is or in a ``data:`` URL."""
    if isinstance(value, dict):
        fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        for name, item in fields.items():
            if isinstance(item, str):
                if name in ("data", "file_data", "bytes") or item.startswith("data:"):
                    yield item
            else:
                yield from _data(item)
