"""Owns how many tokens images, files and sounds can be at most, by the vendors' published formulas. Pure."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil, prod
from typing import Any, NamedTuple, cast

from backstay.providers.image_size import Size, read_size

_ANY_IMAGE = 73_800
"""An image of any vendor: OpenAI's limit since GPT-5.6, 30,000 patches that are not scaled down, times its largest
factor, 2.46. The newer models' own factor is not confirmed. Source: OpenAI's guide "images and vision" as of
2026-09-25, quoted in public code with a refusal "exceeding the limit of 30000"."""

_10_000_PATCHES = 24_600
"""The budget of ``detail: original`` before that, by the same factor; measured ones are 1.2 to 1.5
(community.openai.com/t/1377015, 2026-03)."""

_TILES = 8
"""What fits into 2,048 × 2,048 with a short side of 768, in squares of 512."""

_OPENAI_IMAGES: tuple[tuple[str, int], ...] = (
    ("gpt-4o-mini", 2_833 + _TILES * 5_667),
    ("gpt-4o", 85 + _TILES * 170),
    ("gpt-4.1", 85 + _TILES * 170),
    ("gpt-4.1-mini", 2_489),
    ("gpt-4.1-nano", 3_779),
    ("o4-mini", 2_642),
    ("o1", 75 + _TILES * 150),
    ("o3", 75 + _TILES * 150),
    *((name, _10_000_PATCHES) for name in ("gpt-5-", "gpt-5.1", "gpt-5.2", "gpt-5.3", "gpt-5.4", "gpt-5.5")),
)
"""How a model's name begins and its largest image: tiles, or 1,536 patches times the model's factor (1.62, 2.46, 1.72).
Source: OpenAI's guide "images and vision", "calculating costs" (a copy of 2025: openai-hd4n6.mintlify.app/docs/guides/
images); that the whole gpt-4.1 is billed by tiles, and the maxima of mini, nano and o4-mini, were measured
(community.openai.com/t/1230130, /t/1281361 and /t/1377015)."""

_OPENAI_TILES: tuple[tuple[str, int, int], ...] = (
    ("gpt-4o-mini", 2_833, 5_667), ("gpt-4o", 85, 170), ("gpt-4.1", 85, 170), ("o1", 75, 150), ("o3", 75, 150),
)  # fmt: skip
"""How a model's name begins, and what an image and each of its tiles are."""

_DEAREST_PATCH = 246
_OPENAI_PATCHES: tuple[tuple[str, int], ...] = (("gpt-4.1-mini", 162), ("gpt-4.1-nano", 246), ("o4-mini", 172))
"""How a model's name begins, and what a hundred patches are. Newer models' factors are not confirmed: the largest."""

_TILED_GEMINI = ("gemini-1", "gemini-2")
"""Gemini 3 takes images by its media resolution, whatever their size."""

_LOWER_RESOLUTION = ("claude-3", "claude-sonnet-4", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-2025",
                     "claude-opus-4-5", "claude-opus-4-6", "claude-haiku-4-5")  # fmt: skip
"""Models of the lower resolution: those before Opus 4.7."""

_GEMINI_TILES = 24
"""The most that an image is cut into. It is scaled down into 3,072 × 3,072; a tile is as long as the short side divided
by 1.5, within 256 to 768: 3,072 × 384 is the worst (firebase.google.com/docs/vertex-ai/input-file-requirements, of
Gemini 1.5; not confirmed of later models, whose pages name the same tiles)."""

_AUDIO_FORMATS = frozenset({"wav", "mp3"})
"""Those with a least rate: MP3 has 8 kbit/s or more, PCM more than that. FLAC or Opus of silence have hardly any."""

_AUDIO_CHARACTERS_PER_TOKEN = 16
"""Of base64. Gemini counts 32 tokens a second (ai.google.dev/gemini-api/docs/tokens, 2026-11), the most that is
known; 8 kbit/s are 1,333 characters of base64 a second: over twice as many tokens as that makes."""

_AUDIO_MARKS = 1_024
"""What stands around a sound, in tokens. No vendor publishes it."""


class Media(NamedTuple):
    """What a request has beside text: how much of its body is data, and how many tokens that can be."""

    data_bytes: int
    tokens: int
    is_unbounded: bool = False
    """Whether it has a file of unknown length: then only the model's context bounds it."""


def most_image_tokens(price_provider: str | None, model_id: str) -> int:
    """Return the most tokens that an image of unknown size can be.

    Anthropic scales images down to 1,568 tokens and a long side of as many pixels, for models since Opus 4.7 to 4,784
    and 2,576 (platform.claude.com/docs/en/build-with-claude/vision, 2026). Gemini cuts them into tiles of 258 tokens
    (ai.google.dev/gemini-api/docs/tokens); Gemini 3 takes up to 2,240 by its media resolution (not confirmed).
    """
    if price_provider == "openai":
        sizes = [(len(name), size) for name, size in _OPENAI_IMAGES if f"{model_id}-".startswith(name)]
        return max(sizes)[1] if sizes else _ANY_IMAGE
    if price_provider == "anthropic":
        return 1_640 if model_id.startswith(_LOWER_RESOLUTION) else 4_784
    if price_provider == "google":
        return _GEMINI_TILES * 258
    return _ANY_IMAGE


def image_tokens(price_provider: str | None, model_id: str, size: Size, *, is_low: bool = False) -> int:
    """Return the most tokens that an image of this size can be, never more than one of unknown size.

    Every length that a vendor scales is rounded up here, as they do not say how they round.

    Args:
        price_provider: Who answers, by genai-prices' id.
        model_id: The provider's own name for the model.
        size: In pixels.
        is_low: Whether OpenAI's ``detail`` is ``low``.
    """
    most = most_image_tokens(price_provider, model_id)
    if price_provider == "openai":
        return min(most, _openai_tokens(model_id, size, is_low=is_low))
    if price_provider == "anthropic":
        return min(most, _anthropic_tokens(size))
    if price_provider == "google" and model_id.startswith(_TILED_GEMINI):
        return min(most, _gemini_tokens(size))
    return most


def _openai_tokens(model_id: str, size: Size, *, is_low: bool) -> int:
    """Tiles, or patches, whichever the model counts; the larger of both where that is not known.

    Source: OpenAI's guide "images and vision", "calculating costs" (a copy of 2025: openai-hd4n6.mintlify.app/docs/
    guides/images). That images are not scaled up was measured: 2,049 × 513 are eight tiles (community.openai.com/t/
    1281361).
    """
    name = f"{model_id}-"
    tiled = [(len(start), base, tile) for start, base, tile in _OPENAI_TILES if name.startswith(start)]
    patched = [(len(start), factor) for start, factor in _OPENAI_PATCHES if name.startswith(start)]
    if tiled and max(tiled)[0] > max(patched, default=(0, 0))[0]:
        _, base, tile = max(tiled)
        return base if is_low else base + tile * _openai_tiles(size)
    patches = -(-size.width // 32) * -(-size.height // 32)
    if patched:
        return -(-patches * max(patched)[1] // 100)
    return max(85 + 170 * _openai_tiles(size), -(-patches * _DEAREST_PATCH // 100))


def _openai_tiles(size: Size) -> int:
    """Squares of 512 that cover an image within 2,048 × 2,048 and with a short side of 768, never scaled up."""
    factor = min(Fraction(1), Fraction(2_048, max(size)))
    factor = min(factor, Fraction(768, min(size)))
    return prod(ceil(Fraction(ceil(side * factor), 512)) for side in size)


def _anthropic_tokens(size: Size) -> int:
    """Width times height by 750, or squares of 28 pixels, of which older and newer pages tell; the larger of both.

    Source: platform.claude.com/docs/en/build-with-claude/vision, "calculate image costs" (2025 and 2026).
    """
    return max(-(-size.width * size.height // 750), -(-size.width // 28) * -(-size.height // 28))


def _gemini_tokens(size: Size) -> int:
    """One tile up to 384 × 384, else as many as cover it of a side of the short one by 1.5, within 256 to 768.

    Source: ai.google.dev/gemini-api/docs/tokens; firebase.google.com/docs/vertex-ai/input-file-requirements (2026-11).
    """
    if max(size) <= 384:
        return 258
    factor = min(Fraction(1), Fraction(3_072, max(size)))
    width, height = (ceil(side * factor) for side in size)
    tile = min(768, max(256, int(min(size) * factor / Fraction(3, 2))))
    return 258 * -(-width // tile) * -(-height // tile)


def weigh(value: Any, price_provider: str | None, model_id: str) -> Media:
    """Weigh all media in a decoded field, in OpenAI's, Anthropic's, Google's or Amazon's form."""
    data = tokens = 0
    is_unbounded = False
    for kind, payload in _find(value):
        size = sum(len(text) for text in _data(payload))
        data += size
        if kind == "image":
            tokens += weigh_image(payload, price_provider, model_id)
        elif kind == "audio" and _audio_format(payload) in _AUDIO_FORMATS:
            tokens += size // _AUDIO_CHARACTERS_PER_TOKEN + _AUDIO_MARKS
        else:
            is_unbounded = True
    return Media(data, tokens, is_unbounded)


def weigh_image(payload: Mapping[str, Any], price_provider: str | None, model_id: str) -> int:
    """Return the most tokens of one image: by its size, if it is here and its size can be read, else of any."""
    inline = list(_data(payload))
    size = read_size(inline[0]) if len(inline) == 1 else None
    if size is None:
        return most_image_tokens(price_provider, model_id)
    return image_tokens(price_provider, model_id, size, is_low=_is_low(payload))


def _is_low(payload: Mapping[str, Any]) -> bool:
    linked = payload.get("image_url")
    holder = cast("Mapping[str, Any]", linked) if isinstance(linked, dict) else payload
    return holder.get("detail") == "low"


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


def _audio_format(fields: Mapping[str, Any]) -> object:
    sound = fields.get("input_audio")
    return sound.get("format") if isinstance(sound, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


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
