"""Owns what the cache's tests share: requests, answers, and a model that counts how often it is asked."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from backstay.cache import Cache, CachePolicy, Hit, build_ask
from backstay.cache.cache import Lead
from backstay.cache.directives import read_directives
from backstay.cache.types import Ask
from backstay.core.chat import ChatResponse, Choice, FinishReason, Text
from backstay.core.errors import BackstayError
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage

POLICY = CachePolicy(exact=True, targets=("sim/gpt-4o-mini",))

QUESTION: Mapping[str, Any] = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


def ask(
    body: Mapping[str, Any] | bytes = QUESTION,
    *,
    policy: CachePolicy = POLICY,
    dialect: str = "openai",
    cache_control: str | None = None,
    **more: Any,
) -> Ask:
    """Describe a request that the cache takes."""
    found = maybe_ask(body, policy=policy, dialect=dialect, cache_control=cache_control, **more)
    assert found is not None
    return found


def maybe_ask(
    body: Mapping[str, Any] | bytes = QUESTION,
    *,
    policy: CachePolicy = POLICY,
    dialect: str = "openai",
    cache_control: str | None = None,
    **more: Any,
) -> Ask | None:
    text = body if isinstance(body, bytes) else json.dumps({"model": "m", **body}).encode()
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    named: dict[str, Any] = {
        "operation": "chat",
        "model": "m",
        "tenant_id": "acme",
        "key_id": "key_1",
        "feature": "search",
        **more,
    }
    return build_ask(policy, fields, dialect=dialect, directives=read_directives(cache_control), **named)


def response(text: str = "Paris.", finish_reason: FinishReason = "stop") -> ChatResponse:
    choice = Choice(index=0, parts=(Text(text=text),), finish_reason=finish_reason)
    return ChatResponse(id="chatcmpl-1", model="gpt-4o-mini", created_s=1, choices=(choice,))


def keep(lead: Lead, text: str = "Paris.", *, finish_reason: FinishReason = "stop", trace_id: str = "ab" * 16) -> None:
    """Hand an answer in."""
    lead.keep(
        json.dumps({"text": text}).encode(),
        response(text, finish_reason),
        dialect="openai",
        usage=Usage(input_tokens=7, output_tokens=2),
        target="sim/gpt-4o-mini",
        trace_id=trace_id,
        cost_nanousd=NanoUSD(2250),
    )


class CountedModel:
    """A model that takes its time, and counts. ``problems`` are raised first, one a call."""

    def __init__(self, *, latency_s: float = 0.05, problems: list[BackstayError] | None = None):
        self.calls = 0
        self.latency_s = latency_s
        self.problems = problems or []

    async def answer(self) -> str:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(self.latency_s)
        if self.problems:
            raise self.problems.pop(0)
        return f"Paris, {number}."


async def call(cache: Cache, asked: Ask, model: CountedModel) -> Hit | str:
    """Do what the gateway does: recall, else lead. Returns the hit, or the text that the model gave."""
    found = await cache.recall(asked)
    if isinstance(found, Hit):
        return found
    given: list[str] = []

    async def work() -> None:
        try:
            text = await model.answer()
        except BackstayError as error:
            found.fail(error)
            raise
        except asyncio.CancelledError:
            found.fail()
            raise
        keep(found, text)
        given.append(text)

    await found.carry(work())
    return given[0]
