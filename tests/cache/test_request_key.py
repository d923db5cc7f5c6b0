"""Which requests are the same."""

import json
from typing import Any

import msgspec
import pytest
from asking import POLICY, QUESTION, ask, maybe_ask

from backstay.cache import build_ask
from backstay.cache.directives import read_directives
from backstay.cache.types import Directives

TOOLS: list[Any] = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}, "b": {}}}}}]


@pytest.mark.parametrize(
    "body",
    [
        {**QUESTION, "stream": True, "stream_options": {"include_usage": True}},
        {**QUESTION, "user": "ada", "metadata": {"a": "b"}, "safety_identifier": "x", "store": True},
        {**QUESTION, "temperature": None},
        {"messages": [{"content": "What is the capital of France?", "role": "user"}]},
    ],
)
def test_what_changes_no_answer_does_not_count(body: dict[str, Any]) -> None:
    """How an answer is sent, billed and attributed, nulls, and the order of names make no other request."""
    assert ask(body).key == ask().key


def test_spelling_does_not_count() -> None:
    """White space, escapes and the spelling of numbers make no other request."""
    first = ask(json.dumps({"model": "m", **QUESTION, "temperature": 0, "seed": 1}).encode())
    text = b'{ "temperature":0.0,"seed": 1.0, "model" :"m", "messages":[{"role":"user","content":"%b"}]}'
    second = ask(text % b"What is the capital of \\u0046rance?")
    assert first.key == second.key


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ({"messages": [{"role": "user", "content": "What is the capital of france?"}]}, {}),
        ({**QUESTION, "temperature": 0.1}, {}),
        ({**QUESTION, "seed": 1}, {}),
        ({**QUESTION, "tools": TOOLS}, {}),
        ({**QUESTION, "vendor_field": 1}, {}),
        (QUESTION, {"tenant_id": "rival"}),
        (QUESTION, {"model": "other"}),
        (QUESTION, {"operation": "embeddings"}),
        (QUESTION, {"dialect": "anthropic"}),
        (QUESTION, {"forward": {"anthropic-beta": "x"}}),
        (QUESTION, {"policy": msgspec.structs.replace(POLICY, targets=("acme/gpt-4o",))}),
    ],
)
def test_what_may_change_an_answer_counts(body: dict[str, Any], more: dict[str, Any]) -> None:
    """Words, parameters, unknown fields, tenant, model, targets, wire and the vendor's headers do."""
    assert ask(body, **more).key != ask().key


def test_the_order_of_a_schema_counts() -> None:
    """A model sees a schema's properties in the order in which they were sent, and answers in it."""
    swapped = json.loads(json.dumps(TOOLS))
    swapped[0]["function"]["parameters"]["properties"] = {"b": {}, "a": {}}
    assert ask({**QUESTION, "tools": TOOLS}).key != ask({**QUESTION, "tools": swapped}).key


@pytest.mark.parametrize(
    ("scope", "more", "shared"),
    [
        ("tenant", {"feature": "chat", "key_id": "key_2", "user": "bob"}, True),
        ("feature", {"key_id": "key_2"}, True),
        ("feature", {"feature": "chat"}, False),
        ("key", {"feature": "chat"}, True),
        ("key", {"key_id": "key_2"}, False),
        ("user", {"key_id": "key_2"}, True),
        ("user", {"user": "bob"}, False),
    ],
)
def test_the_scope_says_who_shares(scope: Any, more: dict[str, Any], shared: bool) -> None:
    """A tenant's answers are shared by all of it, or within a feature, a key or a user."""
    policy = msgspec.structs.replace(POLICY, scope=scope)
    assert (ask(policy=policy).key == ask(policy=policy, **more).key) == shared


@pytest.mark.parametrize(
    "value",
    [b'{"a": 1, "a": 2}', b"1e999", b"NaN", b'"\\ud800"', b"[" * 100_000],
    ids=["twice", "infinite", "nan", "surrogate", "deep"],
)
def test_what_has_two_readings_passes_by(value: bytes) -> None:
    """A value that two readers could understand differently is never kept."""
    fields = {"messages": msgspec.Raw(value)}
    assert build_ask(POLICY, fields, operation="chat", dialect="openai", model="m", tenant_id="t", key_id="k") is None


@pytest.mark.parametrize(("sent", "passes"), [({"temperature": 0}, False), ({"temperature": 0.7}, True), ({}, True)])
def test_a_policy_may_keep_cool_answers_only(sent: dict[str, Any], passes: bool) -> None:
    """Of a model whose answers are kept at temperature 0 only, others pass by; no temperature means the vendor's, 1."""
    policy = msgspec.structs.replace(POLICY, max_temperature=0.0)
    assert (maybe_ask({**QUESTION, **sent}, policy=policy) is None) == passes


def test_token_counts_and_no_store_pass_by() -> None:
    """Counting tokens is free, and ``no-store`` is obeyed."""
    assert maybe_ask(operation="count_tokens") is None
    assert maybe_ask(cache_control="no-store") is None
    assert maybe_ask(policy=msgspec.structs.replace(POLICY, exact=False)) is None


def test_directives_are_read() -> None:
    """Names in any case, with values; nonsense counts for nothing."""
    found = read_directives('Max-Age="60", ONLY-IF-CACHED, x=y, max-age=1')
    assert (found.max_age_s, found.only_if_cached, found.no_cache, found.no_store) == (60, True, False, False)
    assert read_directives("max-age=0").no_cache
    assert read_directives("max-age=soon, , =").max_age_s is None


def test_a_prompt_that_quotes_what_one_may_read_has_no_like() -> None:
    """An equal request is the same all the same."""
    policy = msgspec.structs.replace(POLICY, semantic=True)
    assert ask(policy=policy).question is not None
    fields = msgspec.json.decode(json.dumps({"model": "m", **QUESTION}), type=dict[str, msgspec.Raw])
    exact = build_ask(
        policy, fields, operation="chat", dialect="openai", model="m", tenant_id="acme", key_id="key_1",
        feature="search", directives=Directives(exact_only=True),
    )  # fmt: skip
    assert exact is not None and (exact.question, exact.key) == (None, ask(policy=policy).key)
