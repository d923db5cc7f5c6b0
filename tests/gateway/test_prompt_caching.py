"""Breakpoints for Anthropic's prompt cache, as the provider gets them, and what it says of its cache in the books."""

import json
from typing import Any

import msgspec
import pytest
from gateway_house import House

from backstay.gateway import Models, Route
from backstay.providers import ANTHROPIC, OPENAI, Dialect, ProviderRequest
from backstay.providers.simulator import Simulator
from backstay.providers.simulator.provider import SimulatedExchange

LONG = "The rules of the house are many. " * 200
MARK = {"type": "ephemeral"}


class Heard(Simulator):
    """Keeps what it was sent."""

    def __init__(self, speaks: Any = "anthropic", **script: Any):
        super().__init__("claude", speaks=speaks, script=script)
        self.bodies: list[Any] = []

    async def send(self, request: ProviderRequest) -> SimulatedExchange:
        self.bodies.append(json.loads(request.whole_body))
        return await super().send(request)


def offer(house: House, provider: Heard, *, on: bool = True, model_id: str = "claude-sonnet-4-5") -> None:
    house.offer("m", provider, route=Route(prompt_cache=on))
    (model,) = house.gateway.models
    target = msgspec.structs.replace(
        model.targets[0], model_id=model_id, price_provider="anthropic", price_model="claude-sonnet-4-5"
    )
    house.gateway.models = Models({"m": msgspec.structs.replace(model, targets=(target,))})


def body(dialect: Dialect, *, system: str = LONG, tool: str = "Looks it up.", first: str = "Hello") -> dict[str, Any]:
    """A conversation of three messages with two tools, on the wire of a dialect."""
    said = [
        {"role": "user", "content": first},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "And now?"},
    ]
    schema: Any = {"type": "object", "properties": {}}
    names = ("one", "two")
    if dialect is ANTHROPIC:
        tools: list[Any] = [{"name": name, "description": tool, "input_schema": schema, "x": 1.50} for name in names]
        return {"system": system, "messages": said, "tools": tools, "max_tokens": 50}
    tools = [{"type": "function", "function": {"name": n, "description": tool, "parameters": schema}} for n in names]
    return {"messages": [{"role": "system", "content": system}, *said], "tools": tools}


def marks(sent: Any) -> list[str]:
    """Say where markers are."""
    found: list[str] = []
    found += [f"tools[{n}]" for n, tool in enumerate(sent.get("tools", [])) if tool.get("cache_control") == MARK]
    system = sent.get("system")
    blocks: list[Any] = [] if isinstance(system, str | None) else system
    found += [f"system[{n}]" for n, block in enumerate(blocks) if block.get("cache_control") == MARK]
    for place, message in enumerate(sent["messages"]):
        content: Any = message["content"] if isinstance(message["content"], list) else []
        found += [f"messages[{place}][{n}]" for n, block in enumerate(content) if block.get("cache_control") == MARK]
    return found


both = pytest.mark.parametrize("dialect", [ANTHROPIC, OPENAI], ids=["native", "translated"])


@both
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["system[0]", "messages[1][0]"]),
        ({"tool": LONG}, ["tools[1]", "system[0]", "messages[1][0]"]),
        ({"system": "Be brief.", "first": LONG}, ["messages[1][0]"]),
        ({"system": "Be brief."}, []),
    ],
    ids=["system", "tools", "messages", "short"],
)
async def test_what_stays_is_marked(house: House, dialect: Dialect, changes: dict[str, str], expected: list[str]):
    """Behind tools, system and the message before the last, each where the prompt is long enough up to there."""
    provider = Heard()
    offer(house, provider)
    asked = body(dialect, **changes)
    assert (await house.call(asked, dialect=dialect)).status == 200
    (sent,) = provider.bodies
    assert marks(sent) == expected
    assert json.dumps(sent).count("cache_control") == len(expected)
    assert sent["messages"][-1]["content"] in ("And now?", [{"type": "text", "text": "And now?"}])
    if dialect is ANTHROPIC:
        assert all(tool["x"] == 1.5 for tool in sent["tools"])


@both
async def test_a_caller_who_marks_is_left_alone(house: House, dialect: Dialect) -> None:
    """One marker of the caller's own, wherever it is, and no other is placed; nor where the policy does not say so."""
    provider = Heard()
    offer(house, provider)
    asked = body(dialect)
    asked["messages"][-1]["content"] = [{"type": "text", "text": "And now?", "cache_control": MARK}]
    await house.call(asked, dialect=dialect)
    assert len(marks(provider.bodies[-1])) == 1
    offer(house, provider, on=False)
    await house.call(body(dialect), dialect=dialect)
    assert marks(provider.bodies[-1]) == []


async def test_what_takes_no_marker_is_passed_over(house: House) -> None:
    """Thinking, empty text and deferred tools are not marked; what stands before them is."""
    provider = Heard()
    offer(house, provider)
    asked = body(ANTHROPIC, tool=LONG)
    asked["tools"][1]["defer_loading"] = True
    asked["system"] = [{"type": "text", "text": LONG}]
    asked["messages"][1]["content"] = [
        {"type": "text", "text": "Hi."},
        {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
    ]
    await house.call(asked, dialect=ANTHROPIC)
    assert marks(provider.bodies[-1]) == ["tools[0]", "system[0]", "messages[1][0]"]
    assert provider.bodies[-1]["messages"][1]["content"][1] == asked["messages"][1]["content"][1]


async def test_other_dialects_get_no_marker(house: House) -> None:
    """OpenAI's models cache by themselves; on Bedrock only Anthropic's are marked, as cache points."""
    provider = Heard("openai")
    offer(house, provider)
    await house.call(body(OPENAI), dialect=OPENAI)
    assert "cache_control" not in json.dumps(provider.bodies)
    for model_id, points in (("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", 2), ("amazon.nova-pro-v1:0", 0)):
        provider = Heard("bedrock")
        offer(house, provider, model_id=model_id)
        assert (await house.call(body(OPENAI), dialect=OPENAI)).status == 200
        assert json.dumps(provider.bodies).count('"cachePoint": {"type": "default"}') == points


async def test_what_was_read_from_the_cache_is_priced_as_such(house: House) -> None:
    """The books count tokens that the provider's cache had at their own, lower price."""
    costs: list[int] = []
    for share in (0.0, 0.9):
        offer(house, Heard(cached_share=share))
        await house.call(body(ANTHROPIC), dialect=ANTHROPIC)
        (entry,) = house.documents[-1].entries
        assert entry.cost_nanousd is not None
        assert any(line.unit == "cache_read_mtok" for line in entry.lines) == (share > 0)
        costs.append(entry.cost_nanousd)
    assert costs[1] < 0.4 * costs[0]
