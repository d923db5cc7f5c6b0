"""Owns the plan of one simulated call: what is answered, how fast, and what goes wrong. Pure and deterministic."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import msgspec

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
    ChatResponse,
    Choice,
    Finished,
    FinishReason,
    Part,
    Reasoning,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.usage import Usage
from backstay.providers.simulator.content import input_tokens, say, split_tokens, tokens_in
from backstay.providers.simulator.script import Behaviour, Fault, draw


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    latency_s: float
    """From the request to the first byte."""
    first_token_s: float
    """In a stream, from the first byte to the first token."""
    token_s: float
    """From one token to the next; 0: all at once."""
    response: ChatResponse
    fault: Fault | None
    """What strikes this call; ``refusal`` and ``wrong`` are in ``response`` already."""


def chance_of(seed: int, sequence: int, body: bytes) -> random.Random:
    """Make the source of chance of one call: from the seed, its number and its request, nothing else."""
    digest = hashlib.blake2b(body, digest_size=16, key=f"{seed}:{sequence}".encode()[:64]).digest()
    return random.Random(digest)


def plan(behaviour: Behaviour, request: ChatRequest, chance: random.Random, *, created_s: int) -> Plan:
    """Decide everything about one call."""
    fault = _strike(behaviour, chance)
    rate = None if behaviour.tokens_per_second is None else draw(behaviour.tokens_per_second, chance)
    return Plan(
        latency_s=draw(behaviour.latency_s, chance),
        first_token_s=draw(behaviour.first_token_s, chance),
        token_s=1.0 / rate if rate else 0.0,
        response=_response(behaviour, request, chance, fault.kind if fault else None, created_s),
        fault=fault,
    )


def events_of(response: ChatResponse) -> Iterator[tuple[bool, ChatEvent]]:
    """Tell a whole answer as a stream. Each event comes with whether it is a token, which takes time."""
    usage = response.usage
    began = msgspec.structs.replace(usage, output_tokens=1, reasoning_tokens=0)
    yield False, Started(id=response.id, model=response.model, created_s=response.created_s, usage=began)
    for choice in response.choices:
        tools = 0
        for part in choice.parts:
            yield from _part_events(part, choice, tools)
            tools += isinstance(part, ToolUse)
        reason = choice.finish_reason or "stop"
        yield False, Finished(reason=reason, stop_sequence=choice.stop_sequence, choice=choice.index)
    yield False, UsageReported(usage=usage)


def _part_events(part: Part, choice: Choice, tools: int) -> Iterator[tuple[bool, ChatEvent]]:
    match part:
        case Text():
            for index, token in enumerate(split_tokens(part.text)):
                logprobs: Any = choice.logprobs
                if logprobs is not None:
                    logprobs = {"content": [logprobs["content"][index]], "refusal": None}
                yield True, TextDelta(text=token, choice=choice.index, logprobs=logprobs)
        case Refusal():
            for token in split_tokens(part.text):
                yield True, RefusalDelta(text=token, choice=choice.index)
        case ToolUse():
            yield False, ToolUseStarted(index=tools, id=part.id, name=part.name, choice=choice.index)
            for token in split_tokens(part.arguments):
                yield True, ToolUseDelta(index=tools, arguments=token, choice=choice.index)
        case _:
            raise AssertionError(f"the simulator says no {type(part).__name__}")


def _strike(behaviour: Behaviour, chance: random.Random) -> Fault | None:
    drawn = chance.random()
    for fault in behaviour.faults:
        if drawn < fault.rate:
            return fault
        drawn -= fault.rate
    return None


def _response(
    behaviour: Behaviour, request: ChatRequest, chance: random.Random, fault: str | None, created_s: int
) -> ChatResponse:
    choices = tuple(_choice(behaviour, request, chance, fault, index) for index in range(request.candidates))
    said = input_tokens(request)
    written = sum(_tokens_of(part) for choice in choices for part in choice.parts)
    usage = Usage(
        input_tokens=said,
        output_tokens=written + behaviour.reasoning_tokens,
        reasoning_tokens=behaviour.reasoning_tokens,
        cache_read_tokens=int(said * behaviour.cached_share),
    )
    number = f"{chance.getrandbits(96):024x}"
    return ChatResponse(id=number, model=request.model, created_s=created_s, choices=choices, usage=usage)


def _choice(behaviour: Behaviour, request: ChatRequest, chance: random.Random, fault: str | None, index: int) -> Choice:
    said = say(behaviour, request, chance, fault=fault)
    parts, reason, stop_sequence = _stopped(said.parts, said.reason, request.stop)
    parts, reason = _limited(parts, reason, request.max_output_tokens)
    logprobs = _logprobs(parts, request.top_logprobs or 0, chance) if request.logprobs else None
    return Choice(
        index=index,
        parts=parts,
        finish_reason=reason,
        stop_sequence=stop_sequence if reason == "stop_sequence" else None,
        logprobs=logprobs,
    )


def _stopped(
    parts: tuple[Part, ...], reason: FinishReason, stops: tuple[str, ...]
) -> tuple[tuple[Part, ...], FinishReason, str | None]:
    """End a text before the first of the caller's stop sequences."""
    if len(parts) == 1 and isinstance(parts[0], Text):
        text = parts[0].text
        found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
        if found:
            end, stop = min(found)
            return (Text(text=text[:end]),), "stop_sequence", stop
    return parts, reason, None


def _limited(parts: tuple[Part, ...], reason: FinishReason, limit: int | None) -> tuple[tuple[Part, ...], FinishReason]:
    """End an answer at the caller's limit of tokens, wherever that is."""
    if limit is None or sum(map(_tokens_of, parts)) <= limit:
        return parts, reason
    kept: list[Part] = []
    for part in parts:
        if limit <= 0:
            break
        kept.append(_cut(part, limit))
        limit -= _tokens_of(part)
    return tuple(kept), "length"


def _cut(part: Part, tokens: int) -> Part:
    if isinstance(part, ToolUse):
        return msgspec.structs.replace(part, arguments="".join(split_tokens(part.arguments)[:tokens]))
    if isinstance(part, Text | Refusal | Reasoning):
        return msgspec.structs.replace(part, text="".join(split_tokens(part.text)[:tokens]))
    return part


def _tokens_of(part: Part) -> int:
    if isinstance(part, ToolUse):
        return tokens_in(part.arguments)
    return tokens_in(part.text) if isinstance(part, Text | Refusal | Reasoning) else 0


def _logprobs(parts: tuple[Part, ...], top: int, chance: random.Random) -> dict[str, Any]:
    """Write OpenAI's ``logprobs`` object with made-up figures."""
    texts = [part.text for part in parts if isinstance(part, Text)]
    return {
        "content": [_logprob(token, top, chance) for text in texts for token in split_tokens(text)],
        "refusal": None,
    }


def _logprob(token: str, top: int, chance: random.Random) -> dict[str, Any]:
    likely = -round(chance.random(), 4)
    others = [
        {"token": token if rank == 0 else f"~{rank}", "logprob": likely - rank, "bytes": None} for rank in range(top)
    ]
    return {"token": token, "logprob": likely, "bytes": list(token.encode()), "top_logprobs": others}
