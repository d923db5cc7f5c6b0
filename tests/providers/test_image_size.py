"""Tests of images' sizes and of what they cost at most: by the header alone, and never less than the vendor counts."""

import base64
import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backstay.providers import Fields
from backstay.providers.counting import most_input_tokens
from backstay.providers.image_size import Size, read_size
from backstay.providers.media_tokens import image_tokens, most_image_tokens


def picture(size: tuple[int, int], kind: str, **how: Any) -> str:
    """Make a real image in base64."""
    held = io.BytesIO()
    Image.new("RGB", size, "navy").save(held, kind, **how)
    return base64.b64encode(held.getvalue()).decode()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + b"x" * 60_000, "icc_profile": b"p" * 150_000}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + b"x" * 99}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (1024, 768), (513, 2049)])
def test_the_size_of_a_real_image_is_read_from_its_header(
    kind: str, how: dict[str, Any], size: tuple[int, int]
) -> None:
    """In base64 as it is, and as a URL."""
    data = picture(size, kind, **how)
    assert read_size(data) == size
    assert read_size(f"data:image/{kind.lower()};base64,{data}") == size


def test_a_bomb_is_not_decoded() -> None:
    """A header that claims two thousand million pixels is read like any other; its data is never looked at."""
    header = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + b"IHDR" + (50_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0crc!"
    assert read_size(base64.b64encode(header).decode() + "A" * 4_000_000) == Size(50_000, 50_000)


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80).map(lambda data: base64.b64encode(data).decode())))
def test_what_is_no_image_has_no_size(text: str) -> None:
    """And nothing is raised."""
    assert read_size(text) is None
    assert read_size("data:image/png;base64," + text) is None
    assert read_size("data:image/png," + text) is None


def test_a_gif_or_a_cut_off_image_has_no_size() -> None:
    """A GIF's frames may be larger than its screen; a JPEG without a frame has none."""
    assert read_size(picture((9, 9), "GIF")) is None
    assert read_size(picture((900, 900), "JPEG")[:40]) is None


@pytest.mark.parametrize(
    ("provider", "model_id", "size", "is_low", "tokens"),
    [
        # OpenAI's guide "images and vision": its own examples
        ("openai", "gpt-4o", (1024, 1024), False, 765),
        ("openai", "gpt-4o", (2048, 4096), False, 1105),
        ("openai", "gpt-4o", (4096, 8192), True, 85),
        ("openai", "gpt-4.1-mini", (1024, 1024), False, 1659),
        ("openai", "gpt-4o-mini", (512, 512), False, 2833 + 5667),
        # measured, less 8 tokens of text: community.openai.com/t/1281361
        ("openai", "gpt-4.1", (2049, 513), False, 1445),
        ("openai", "gpt-4.1-mini", (4000, 1474), False, 2489),
        # platform.claude.com/docs/en/build-with-claude/vision: its table of sizes
        ("anthropic", "claude-sonnet-4-5", (200, 200), False, 64),
        ("anthropic", "claude-sonnet-4-5", (1000, 1000), False, 1334),
        ("anthropic", "claude-sonnet-4-5", (8000, 8000), False, 1640),
        # ai.google.dev/gemini-api/docs/tokens
        ("google", "gemini-2.5-flash", (384, 384), False, 258),
        ("google", "gemini-2.5-flash", (960, 540), False, 6 * 258),
        ("google", "gemini-3-pro-preview", (9, 9), False, 24 * 258),
        (None, "llava", (9, 9), False, 73_800),
    ],
)
def test_published_examples(
    provider: str | None, model_id: str, size: tuple[int, int], is_low: bool, tokens: int
) -> None:
    """What the vendors' pages and measurements say of images of known sizes."""
    assert image_tokens(provider, model_id, Size(*size), is_low=is_low) == tokens


MODELS = [("openai", name) for name in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "o3", "gpt-5", "gpt-7")] + [
    ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-opus-5"), ("google", "gemini-2.5-pro"), (None, "x"),
]  # fmt: skip
sides = st.one_of(st.integers(1, 3_000), st.integers(1, 60_000))


@given(st.sampled_from(MODELS), sides, sides)
def test_an_image_of_known_size_is_never_more_than_any(model: tuple[str | None, str], width: int, height: int) -> None:
    """And as much when it is turned, as cameras ask for."""
    tokens = image_tokens(*model, Size(width, height))
    assert 0 < tokens <= most_image_tokens(*model)
    assert tokens == image_tokens(*model, Size(height, width))


def _rounded_tiles(width: int, height: int) -> int:
    """Count OpenAI's tiles with lengths rounded to the nearest pixel, as the other plausible implementation does."""
    factor = min(1.0, 2048 / max(width, height))
    width, height = round(width * factor), round(height * factor)
    factor = min(1.0, 768 / max(1, min(width, height)))
    width, height = round(width * factor), round(height * factor)
    return -(-max(1, width) // 512) * -(-max(1, height) // 512)


@given(sides, sides)
def test_rounding_otherwise_makes_no_more_tiles(width: int, height: int) -> None:
    """Lengths are rounded up here: whoever rounds to the nearest pixel counts as many tiles at most."""
    assert 85 + 170 * _rounded_tiles(width, height) <= image_tokens("openai", "gpt-4o", Size(width, height))


def test_an_image_in_a_request_is_counted_by_its_size() -> None:
    """On every wire; an image by its URL is as large as any."""
    data = picture((512, 512), "PNG")
    forms: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}},
        {"type": "input_image", "image_url": "data:image/png;base64," + data},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
        {"image": {"format": "png", "source": {"bytes": data}}},
    ]
    linked = _bound({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}})
    assert all(255 <= _bound(form) <= 255 + 1_000 < linked for form in forms)
    low = _bound({"type": "image_url", "image_url": {"url": "data:image/png;base64," + data, "detail": "low"}})
    assert low < _bound(forms[0])


def _bound(part: dict[str, Any]) -> int:
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]})
    return most_input_tokens(msgspec.json.decode(body, type=Fields), "openai", "openai", "gpt-4o")
