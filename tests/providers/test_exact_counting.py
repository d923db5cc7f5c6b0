"""Counts by OpenAI's tokenizer: what its cookbook counts, and never less where a form is not published."""

import functools
import importlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.providers import Fields
from backstay.providers.counting import most_input_tokens
from backstay.providers.exact_counting import count_input_tokens

MARGIN = 16
pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")
"""The tokenizer's package loads its tables so."""


@functools.cache
def _encoding() -> Any:
    return importlib.import_module("bpe_openai").get_encoding("o200k_base")


def tokens_of(text: str) -> int:
    """Count by the tokenizer itself."""
    return len(_encoding().encode_ordinary(text))


def count(model_id: str = "gpt-4o", **body: Any) -> int | None:
    fields = msgspec.json.decode(json.dumps(body), type=Fields)
    return count_input_tokens(fields, "openai", "openai", model_id)


EXAMPLE = [
    {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon "
     "into plain English."},
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
    {"role": "system", "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch base "
     "on opportunities for increased leverage."},
    {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do "
     "better."},
    {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client "
     "deliverable."},
]  # fmt: skip


@pytest.mark.parametrize(("model_id", "tokens"), [("gpt-4", 129), ("gpt-4o", 124), ("gpt-4o-mini", 124)])
def test_the_cookbooks_example(model_id: str, tokens: int) -> None:
    """What OpenAI's API said of it: "How to count tokens with tiktoken", section 6 (2026-11)."""
    assert count(model_id, messages=EXAMPLE) == tokens + MARGIN


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                    "unit": {"type": "string", "description": "The unit of temperature to return",
                             "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["location"],
            },
        },
    }
]  # fmt: skip
ASKED = [
    {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


@pytest.mark.parametrize(("model_id", "tokens"), [("gpt-4", 105), ("gpt-4o", 101)])
def test_functions_are_bounded(model_id: str, tokens: int) -> None:
    """The cookbook's example of tools, section 7; the bytes of the request are three times as many."""
    counted = count(model_id, messages=ASKED, tools=TOOLS)
    fields = msgspec.json.decode(json.dumps({"messages": ASKED, "tools": TOOLS}), type=Fields)
    assert counted is not None and tokens <= counted < most_input_tokens(fields, "openai", "openai", model_id) / 3


def test_long_descriptions_are_counted_as_text() -> None:
    """They are most of what agents send."""
    text = "Says what the weather will be.\n" * 200
    described = [{"type": "function", "function": {"name": "f", "description": text, "parameters": None}}]
    counted = count(messages=ASKED, tools=described)
    assert counted is not None and tokens_of(text) <= counted < len(text) / 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=4), st.booleans())
def test_texts_are_exact_in_parts_or_not(texts: list[str], in_parts: bool) -> None:
    """Three for each message and one for its role, and what the tokenizer makes of its texts."""
    content = [{"type": "text", "text": text} for text in texts] if in_parts else "".join(texts)
    expected = sum(map(tokens_of, texts)) if in_parts else tokens_of("".join(texts))
    assert count(messages=[{"role": "user", "content": content}]) == 3 + 1 + expected + 3 + MARGIN


def test_what_is_said_to_and_by_functions_is_bounded_by_its_bytes() -> None:
    """Names, ids and arguments as JSON; the answer's text exactly."""
    arguments = json.dumps({"location": "Boston"})
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with_call = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [call]},
                 {"role": "tool", "tool_call_id": "call_1", "content": "sunny " * 500}]  # fmt: skip
    counted, before = count(messages=with_call), count(messages=ASKED)
    assert counted is not None and before is not None
    assert 500 + len(arguments) <= counted - before <= 1_000 + len(json.dumps(call)) + 40


def test_images_are_counted_by_the_vendors_formula() -> None:
    """One by its URL is as large as any: a low one is what it always is."""
    part = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    empty = count(messages=[{"role": "user", "content": []}])
    assert empty is not None
    assert count(messages=[{"role": "user", "content": [part]}]) == empty + 85 + 8 * 170


UNCOUNTED: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": None}]}]},
    {"messages": [{"role": "assistant", "audio": {"id": "a"}}]},
    {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "more": 1}]}]},
    {"messages": ASKED, "tools": [{"type": "web_search"}]},
    {"messages": ASKED, "web_search_options": None},
    {"messages": "hello"},
]


@pytest.mark.parametrize("body", UNCOUNTED)
def test_what_cannot_be_counted_is_left_to_the_bytes(body: dict[str, Any]) -> None:
    """Files, sound, the vendor's own tools, and what is no request."""
    assert count(**body) is None
    assert count_input_tokens({}, "openai", "openai", "gpt-4o") is None
