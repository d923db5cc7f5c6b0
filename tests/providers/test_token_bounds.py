"""Bounds of a request: never fewer tokens than text has bytes, media by formula, output limits."""

import json
from typing import Any

import msgspec
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.providers import Fields
from backstay.providers.counting import (
    asked_tier,
    most_input_tokens,
    most_output_tokens,
    most_price_percent,
    most_tool_rounds,
    ruled_out,
)
from backstay.providers.model_limits import known_context, known_output_limit

BIG = "A" * 4_000_000


def fields_of(**body: Any) -> Fields:
    return msgspec.json.decode(json.dumps(body), type=Fields)


def user(*parts: dict[str, Any]) -> Fields:
    return fields_of(messages=[{"role": "user", "content": list(parts)}])


def most(fields: Fields, provider: str = "openai", model_id: str = "gpt-4o", **more: Any) -> int:
    return most_input_tokens(fields, "openai", provider, model_id, **more)


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), ascii_only=st.booleans()
)
def test_no_text_has_more_tokens_than_its_bound(texts: list[str], ascii_only: bool):
    """A byte-level tokenizer makes at most a token of each byte; a message adds four, the answer's beginning three.

    Source of those: OpenAI cookbook, "How to count tokens with tiktoken" (2026-11).
    """
    messages = [{"role": "user", "content": text} for text in texts]
    body = json.dumps({"messages": messages}, ensure_ascii=ascii_only).encode()
    fields = msgspec.json.decode(body, type=Fields)
    counted = sum(len(text.encode()) for text in texts)
    assert counted + 4 * len(texts) + 3 <= most(fields)


@pytest.mark.parametrize(
    ("provider", "model_id", "tokens"),
    [
        ("openai", "gpt-4o", 85 + 8 * 170),
        ("openai", "gpt-4o-mini", 2_833 + 8 * 5_667),
        ("openai", "gpt-5.4", 24_600),
        ("anthropic", "claude-sonnet-4-5", 1_640),
        ("anthropic", "claude-opus-5", 4_784),
        ("google", "gemini-2.5-flash", 24 * 258),
        ("openai", "gpt-5", 24_600),
        ("openai", "gpt-5.6-sol", 73_800),
        (None, "llava", 73_800),
    ],
)
def test_images_are_bounded_by_their_vendors_formula(provider: str, model_id: str, tokens: int):
    """The data of an image is not text: the largest image that the vendor makes of it counts, and little else."""
    inline = user({"type": "image_url", "image_url": {"url": "data:image/png;base64," + BIG}})
    linked = user({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}})
    claude = user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BIG}})
    assert all(tokens <= most(each, provider, model_id) <= tokens + 1_000 for each in (inline, linked, claude))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BIG}},
        {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_data": "data:application/pdf;base64," + BIG},
        {"type": "input_audio", "input_audio": {"data": "T2dn", "format": "opus"}},
    ],
)
def test_files_of_unknown_length_are_bounded_by_the_context(part: dict[str, Any]):
    """A PDF's pages, or the seconds of silence in a sound, cannot be counted from here: the context bounds them."""
    assert most(user(part), context_tokens=200_000) == 200_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": BIG}},
        {"type": "tool_use", "id": "1", "name": "draw", "input": {"type": "image", "data": BIG}},
        {"type": "text", "text": BIG},
    ],
)
def test_text_is_counted_wherever_it_stands(part: dict[str, Any]):
    """Documents of text, and tools' arguments that look like images, are text."""
    assert most(user(part)) > len(BIG)


def test_a_name_hidden_in_an_escape_is_found():
    """An image whose name is spelt with an escape counts like any other."""
    raw = rb'[{"role":"user","content":[{"type":"im\u0061ge","source":{"type":"url","url":"https://x.example/a"}}]}]'
    assert most({"messages": msgspec.Raw(raw)}, "anthropic", "claude-opus-5") > 4_784


def test_what_an_earlier_response_holds_is_bounded_by_the_context():
    """It is kept by the provider, and read again."""
    fields = fields_of(input="go on", previous_response_id="resp_1")
    assert most_input_tokens(fields, "responses", "openai", "gpt-5", context_tokens=400_000) == 400_000


NOTHING: dict[str, Any] = {}
SEARCHES: list[tuple[dict[str, Any], int]] = [
    (NOTHING, 0),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": NOTHING}}]}, 0),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]}, 3),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 10),
    ({"tools": [{"type": "web_search"}], "max_tool_calls": 2}, 2),
    ({"tools": [{"type": "web_search"}]}, 10),
    ({"web_search_options": NOTHING}, 1),
]


@pytest.mark.parametrize(("body", "rounds"), SEARCHES)
def test_the_providers_own_tools_are_bounded(body: dict[str, Any], rounds: int):
    """By the caller's limit, else by ten; each time, the whole context may be read again."""
    fields = fields_of(input="x", **body)
    assert most_tool_rounds(fields) == rounds
    bound = most(fields, context_tokens=100_000)
    assert bound == 100_000 * (1 + rounds) if rounds else bound < 100_000


@pytest.mark.parametrize(
    ("body", "model_limit", "expected"),
    [
        ({"max_tokens": 100}, None, 100),
        ({"max_completion_tokens": 100, "n": 3}, 16_384, 300),
        ({"max_output_tokens": 10**9}, 128_000, 128_000),
        ({"max_tokens": None}, 4_096, 4_096),
        ({"max_tokens": -5}, 4_096, 0),
        ({"max_tokens": "many"}, 4_096, 4_096),
        ({"n": 2}, 4_096, 8_192),
        ({}, None, None),
        ({"max_tokens": 10, "prediction": "x" * 98}, None, 110),
    ],
)
def test_the_longest_answer_is_the_callers_limit_or_the_models(
    body: dict[str, Any], model_limit: int | None, expected: int | None
):
    """For every candidate, and with what was foretold: a prediction that is rejected is billed as output."""
    assert most_output_tokens(fields_of(**body), model_limit) == expected


@pytest.mark.parametrize(
    ("provider", "model_id", "expected"),
    [
        ("openai", "gpt-4o-mini", 16_384),
        ("openai", "gpt-5-pro-2025-10-06", 272_000),
        ("anthropic", "claude-sonnet-4-5-20250929", 64_000),
        ("anthropic", "claude-opus-4-1-20250805", 32_000),
        ("google", "gemini-2.5-pro", 65_536),
        ("openai", "gpt-4.1-mini-2025-04-14", 32_768),
        ("openai", "o4-mini", 100_000),
        ("openai", "gpt-5.4-nano", 128_000),
        ("deepseek", "deepseek-chat", 393_216),
        ("mistral", "mistral-large-2512", 262_144),
        ("x-ai", "grok-4.5", 500_000),
        ("google", "gemini-4-argon", 1_048_576),
        ("openai", "unheard-of", None),
        ("openai", "gpt-5-image", None),
        ("openai", "gpt-4o-64k-output-alpha", None),
        ("anthropic", "claude-opus-4-9", None),
        (None, "gpt-4o", None),
    ],
)
def test_only_limits_that_were_looked_up_are_known(provider: str | None, model_id: str, expected: int | None):
    """Dated names have their model's limit; unknown ones none, however they begin: they may write more."""
    assert known_output_limit(provider, model_id) == expected


@pytest.mark.parametrize(
    ("body", "tier"),
    [
        ({"speed": "fast", "service_tier": "auto"}, "fast"),
        ({"speed": "standard", "service_tier": "auto"}, "auto"),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": None, "speed": 7}, None),
        ({}, None),
    ],
)
def test_the_tier_that_is_asked_for_is_found(body: dict[str, Any], tier: str | None):
    """Under either name; what is no tier is for the provider to refuse."""
    assert asked_tier(fields_of(**body)) == tier


def test_kinds_that_nobody_asked_for_are_ruled_out():
    """A cache of one hour and sound are paid for by who asks for them; an escape may hide the asking."""
    audio = {"input_audio_mtok", "cache_audio_read_mtok", "output_audio_mtok"}
    images = {"input_image_mtok", "cache_image_read_mtok"}
    assert ruled_out(fields_of(messages="hello")) == {"cache_write_1h_mtok", *audio, *images}
    assert ruled_out(fields_of(messages=[{"cache_control": {"type": "ephemeral", "ttl": "1h"}}])) == audio | images
    assert ruled_out(fields_of(messages="hello", modalities=["text", "audio"])) == {"cache_write_1h_mtok"}
    assert ruled_out(user({"type": "image_url", "image_url": {"url": "x"}})) == {"cache_write_1h_mtok", *audio}
    assert ruled_out({"messages": msgspec.Raw(rb'"\u0031h"')}) == frozenset()


def test_a_sound_costs_no_more_than_its_bound():
    """Gemini's 32 tokens a second, of the lowest rate of MP3: a minute at 8 kbit/s."""
    minute = "A" * (60 * 8_000 // 8 * 4 // 3)
    bound = most(
        user({"type": "input_audio", "input_audio": {"data": minute, "format": "mp3"}}), "google", "gemini-2.5-pro"
    )
    assert 60 * 32 < bound < len(minute)


@pytest.mark.parametrize(
    ("provider", "model_id", "tokens"),
    [
        ("openai", "gpt-4o-2024-08-06", 128_000),
        ("openai", "gpt-4.1-mini", 1_047_576),
        ("openai", "gpt-5", 400_000),
        ("openai", "gpt-5.6-sol", 1_050_000),
        ("openai", "gpt-5.9", None),
        ("anthropic", "claude-sonnet-4-5-20250929", 1_000_000),
        ("anthropic", "claude-3-5-haiku-latest", 200_000),
        ("google", "gemini-2.5-flash", 1_048_576),
        ("mistral", "gpt-4o", None),
        (None, "gpt-4o", None),
    ],
)
def test_contexts_are_known_by_model(provider: str | None, model_id: str, tokens: int | None):
    """With the vendor's beta features; a model that nobody has looked up has none."""
    assert known_context(provider, model_id) == tokens


def test_no_known_context_is_less_than_the_lists():
    """But where the list has a vendor's round number."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            known = known_context(provider.id, model.id)
            assert known is None or model.context_window is None or known >= model.context_window, model.id


@pytest.mark.parametrize(
    ("model_id", "asked", "default", "percent"),
    [
        ("claude-opus-4-6", None, None, 110),
        ("claude-opus-4-6", "global", None, 100),
        ("claude-opus-4-6", "us", "global", 110),
        ("claude-opus-4-6", None, "global", 100),
        ("claude-opus-4-6", None, "us", 110),
        ("claude-sonnet-4-5", None, None, 100),
        ("claude-sonnet-4-20250514", None, None, 100),
    ],
)
def test_inference_in_the_us_may_cost_a_tenth_more(model_id: str, asked: str | None, default: str | None, percent: int):
    """Unless the caller asks for elsewhere, or the operator says that the workspace does; old models know no places."""
    assert most_price_percent(fields_of(inference_geo=asked), "anthropic", model_id, default) == percent
    assert most_price_percent(fields_of(inference_geo=asked), "openai", "gpt-5", default) == 100


def test_compacting_a_context_reads_it_again():
    """As often as the provider may do it; what it writes of it counts, too."""
    edits = {"edits": [{"type": "compact_20260112"}]}
    fields = fields_of(messages="hello", max_tokens=100, context_management=edits)
    assert most(fields, "anthropic", "claude-opus-4-6", context_tokens=1_000_000) == 2_000_000
    assert most_output_tokens(fields, 64_000) == 100 + 64_000
    cleared = fields_of(messages="hello", context_management={"edits": [{"type": "clear_tool_uses_20250919"}]})
    assert most(cleared, "anthropic", "claude-opus-4-6") < 2_000
