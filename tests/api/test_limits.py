"""Callers meet their limits on the vendors' wires: refused as the vendors refuse, told where they stand, recorded."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from serving import Server, eventually, serving

POLICY = """
[providers.slow]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { tokens_per_second = 20, output_tokens = 40 }

[models.slow]
targets = ["slow/gpt-4o-mini"]

[[limits]]
scope = "key"
name = "policy-limited"
requests_per_min = 3

[[limits]]
scope = "user"
match = "batch-*"
tokens_per_min = 200
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers that share their limits."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, "--workers", "2") as server:
        yield server


def make_key(server: Server, name: str, *limits: str) -> dict[str, Any]:
    return server.ask("keys", "create", "--name", name, *limits)


def ask_openai(server: Server, key: str, *, model: str = "sim", **more: Any) -> Any:
    """Call over a connection of its own, so that either worker may get it."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        completions: Any = client.chat.completions.with_raw_response
        return completions.create(
            model=model, messages=[{"role": "user", "content": "What is the capital of France?"}], **more
        )


def get_in(server: Server, key: str) -> Any:
    """Use the only permit. On a loaded machine Postgres may be slower than the second that a worker waits for it, which
    then goes by its share; of one permit that is none, until Postgres answers again. A refusal takes nothing."""

    def admitted() -> Any:
        try:
            return ask_openai(server, key)
        except openai.RateLimitError:
            return None

    return eventually(admitted)


def test_openais_sdk_raises_its_rate_limit_error(server: Server) -> None:
    """Three a minute are answered, over both workers; the fourth is a ``RateLimitError`` that says when."""
    key = make_key(server, "three", "--requests-per-min", "3")
    assert key["requests_per_min"] == 3
    for left in (2, 1, 0):
        headers = ask_openai(server, key["key"]).headers
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == str(left)
        assert headers["ratelimit-policy"] == '"key-requests";q=3;w=60'
        assert re.fullmatch(rf'"key-requests";r={left};t=\d+', headers["ratelimit"])
    time.sleep(0.3)  # both workers know what the other used
    for _ in range(4):
        with pytest.raises(openai.RateLimitError) as caught:
            ask_openai(server, key["key"])
        assert caught.value.code == "rate_limited"
        headers = caught.value.response.headers
        assert 50 < int(headers["retry-after"]) <= 61
        assert abs(int(headers["retry-after-ms"]) / 1000 - int(headers["retry-after"])) <= 1
        assert headers["ratelimit"] == f'"key-requests";r=0;t={headers["retry-after"]}'
        assert headers["x-ratelimit-remaining-requests"] == "0"


def test_anthropics_sdk_raises_its_rate_limit_error(server: Server) -> None:
    """The same on Anthropic's wire, with its headers, streamed or not."""
    key = make_key(server, "one", "--requests-per-min", "1")["key"]
    with anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0) as client:
        ask: Any = {"model": "sim", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
        with client.messages.with_streaming_response.create(**ask, stream=True) as answer:
            assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"
            assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
            answer.read()
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(**ask)
    body: Any = caught.value.body
    assert body["error"]["type"] == "rate_limit_error"
    assert body["error"]["message"].startswith("The key's limit of 1 requests a minute is used up.")
    assert body["error"]["details"] == {"error_code": "rate_limited", "param": None}


def test_a_refusal_is_a_trace_and_costs_nothing(server: Server) -> None:
    """A refused call is in the books, as an error, without an attempt."""
    key = make_key(server, "traced", "--requests-per-min", "1")
    get_in(server, key["key"])
    with pytest.raises(openai.RateLimitError) as caught:
        ask_openai(server, key["key"])
    trace_id = caught.value.response.headers["x-backstay-trace-id"]
    (call,) = eventually(lambda: _json(server.run("traces", "show", trace_id, "--json").stdout).get("spans"))
    assert (call["status"], call["error_code"], call["http_status"]) == ("error", "rate_limited", 429)
    assert (call["children"], call["cost_usd"]) == ([], "0.000000")


def _json(text: str) -> Any:
    return json.loads(text) if text.strip() else {}


def test_tokens_are_held_by_the_estimate_and_settled_by_the_usage(server: Server) -> None:
    """A user's 200 tokens a minute: an estimate beyond is refused for good; what was not used is there again."""
    key = make_key(server, "batcher")["key"]
    with pytest.raises(openai.RateLimitError) as caught:
        ask_openai(server, key, user="batch-1", max_tokens=400)
    assert caught.value.response.headers["x-should-retry"] == "false"
    first = ask_openai(server, key, user="batch-1", max_tokens=100)
    used = first.parse().usage.total_tokens
    time.sleep(0.5)
    second = ask_openai(server, key, user="batch-1", max_tokens=100)
    left = int(second.headers["x-ratelimit-remaining-tokens"])
    assert left == 200 - used - second.parse().usage.total_tokens
    assert "ratelimit" not in ask_openai(server, key, user="ada").headers


def test_calls_at_once_are_limited(server: Server) -> None:
    """While a call with the only permit runs, another is refused; after it, another is admitted."""
    key = make_key(server, "lonely", "--concurrency", "1")["key"]
    get_in(server, key)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        with client.chat.completions.with_streaming_response.create(
            model="slow", stream=True, messages=[{"role": "user", "content": "Hello"}]
        ) as answer:
            with pytest.raises(openai.RateLimitError, match="1 calls at once"):
                ask_openai(server, key)
            answer.read()
        assert get_in(server, key).headers["ratelimit"] == '"key-concurrency";r=1'


def test_an_edit_of_the_policy_changes_limits_and_keeps_the_count(server: Server) -> None:
    """Three of three were used: with a limit of five there are two more, and no fresh five."""
    key = make_key(server, "policy-limited")["key"]
    for _ in range(3):
        ask_openai(server, key)
    with pytest.raises(openai.RateLimitError):
        ask_openai(server, key)
    (server.folder / "backstay.toml").write_text(POLICY.replace("requests_per_min = 3", "requests_per_min = 5"))
    time.sleep(2.0)
    for _ in range(2):
        ask_openai(server, key)
    for _ in range(3):
        with pytest.raises(openai.RateLimitError):
            ask_openai(server, key)


def test_refusals_are_counted(server: Server) -> None:
    """``/metrics`` says how many calls were refused by which kind of limit."""
    key = make_key(server, "counted", "--requests-per-min", "1")["key"]
    get_in(server, key)
    with pytest.raises(openai.RateLimitError):
        ask_openai(server, key)
    wanted = re.compile(r'^backstay_rate_limited_total\{limit="requests",scope="key"\} [1-9]', re.M)
    eventually(lambda: wanted.search(_metrics(server)))


def _metrics(server: Server) -> str:
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        return answer.read().decode()


def test_keys_show_their_limits(server: Server) -> None:
    """``keys list`` has the limits of a key, and a rotated key keeps them."""
    key = make_key(server, "shown", "--requests-per-min", "60", "--tokens-per-min", "9000", "--concurrency", "4")
    rotated = server.ask("keys", "rotate", key["id"])
    assert [rotated[name] for name in ("requests_per_min", "tokens_per_min", "concurrency")] == [60, 9000, 4]
    assert "60 req/min, 9000 tok/min, 4 at once" in server.run("keys", "list").stdout
