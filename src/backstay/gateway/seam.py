"""Owns the seam in a stream that broke midway: what the next target is asked, and how its words join those before."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
    Finished,
    Message,
    ReasoningDelta,
    Started,
    StreamFailed,
    Text,
    TextDelta,
    UsageReported,
)
from backstay.core.continuation import CONTINUE
from backstay.core.errors import Untranslatable
from backstay.core.routing import OnBrokenStream
from backstay.core.usage import Usage
from backstay.gateway.resolve import Resolved
from backstay.gateway.settle import estimate_tokens
from backstay.gateway.tries import Reason
from backstay.gateway.types import Target
from backstay.providers import RESPONSES, Dialect, Fields, StreamWriter
from backstay.providers.responses import ResponsesDialect
from backstay.providers.signatures import UNSIGNED

_PREFILLED = re.compile(r"claude-(?:3|instant|2|(?:opus|sonnet|haiku)-4-(?:[015](?:\D|$)|2025))")
"""Models that go on with a last message of the assistant's. Later ones refuse it.
Source: Anthropic's API guide, "Prefill Claude's response": not supported from Claude Opus 4.6 on (2026-08)."""

_FORMATS = frozenset({"response_format", "output_format", "output_config"})
"""Fields that ask for JSON. A model that is asked to go on with half of a document writes a whole one."""

_THINKING = frozenset({"thinking", "reasoning", "reasoning_effort", "output_config"})
"""Fields that may ask the model to think first. Anthropic takes no last message of the assistant's then.
Source: Anthropic's API guide, "Extended thinking", feature compatibility (2026-08)."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})

_LONGEST_OVERLAP = 400
"""Characters at the end of the old text that are looked for at the beginning of the new."""
_LEAST_OVERLAP = 12
"""Shorter ones are likely chance: "the " is no repetition."""


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that broke: what the caller has seen of it."""

    mode: OnBrokenStream
    said: Sequence[ChatEvent]
    text: str
    is_finished: bool
    """Whether the answer itself was complete, and only the end of the stream is missing."""
    may_think: bool = False
    """Whether the caller may have asked the model to think first."""

    @classmethod
    def after(cls, said: Sequence[ChatEvent], request: Resolved, dialect: Dialect) -> "Interrupted | None":
        """Look at what the caller has seen; ``None`` where none could go on: amid tool calls, JSON, several choices."""
        ended = {event.choice for event in said if isinstance(event, Finished)}
        is_finished = len(ended) >= _candidates(request.fields)
        is_finished = is_finished or (isinstance(dialect, ResponsesDialect) and dialect.has_all(request.fields))
        if not is_finished and (_asks_for_json(request.fields) or not all(map(_can_be_gone_on_with, said))):
            return None
        mode = request.model.route.on_broken_stream
        seen = [event for event in said if not isinstance(event, StreamFailed)]
        return cls(
            mode=mode,
            said=seen,
            text="".join(event.text for event in said if isinstance(event, TextDelta)),
            is_finished=is_finished,
            may_think=not _THINKING.isdisjoint(request.fields),
        )

    @property
    def reason(self) -> Reason:
        """Why the next try is made."""
        return "restart" if self.mode == "restart" else "continue"

    @property
    def tokens(self) -> int:
        """About how many tokens the caller has seen."""
        return estimate_tokens(len(self.text.encode()))

    def messages_for(self, target: Target) -> tuple[Message, ...]:
        """Write what is added to the conversation, so that a target goes on; nothing where it begins anew."""
        if self.mode == "restart" or not self.text.strip():
            return ()
        begun = Message(role="assistant", parts=(Text(text=self.text.rstrip()),))
        if target.provider.dialect.name == "anthropic" and _PREFILLED.match(target.model_id) and not self.may_think:
            return (begun,)
        return (begun, Message(role="user", parts=(Text(text=CONTINUE),)))

    def go_on(self, request: ChatRequest, target: Target) -> ChatRequest:
        """Ask for the rest."""
        messages = self.messages_for(target)
        limit = request.max_output_tokens
        return msgspec.structs.replace(
            request,
            messages=(*request.messages, *messages),
            max_output_tokens=_left(limit, self) if messages and limit is not None else limit,
        )


def go_on(fields: Fields, broken: Interrupted, target: Target) -> Fields:
    """Ask for the rest in the caller's own body, whose other bytes stay as they came.

    Raises:
        Untranslatable: It has neither messages nor an input.
    """
    messages = broken.messages_for(target)
    if not messages:
        return fields
    if "messages" in fields:
        name, said = "messages", bytes(fields["messages"])
    elif "input" in fields:
        name, said = "input", RESPONSES.said_now(fields)
    else:
        raise Untranslatable("This kind of request cannot be gone on with after its stream broke.")
    written = [msgspec.json.encode({"role": each.role, "content": _text_of(each)}) for each in messages]
    inner = said.strip()[1:-1].strip()
    changed = {name: b"[" + b",".join([inner, *written] if inner else written) + b"]"}
    for limit in _LIMITS.intersection(fields):
        asked = msgspec.json.decode(fields[limit])
        if isinstance(asked, int | float):
            changed[limit] = str(_left(int(asked), broken)).encode()
    return {**fields, **{name: msgspec.Raw(text) for name, text in changed.items()}}


def _can_be_gone_on_with(event: ChatEvent) -> bool:
    match event:
        case TextDelta(choice=0, logprobs=None) | ReasoningDelta(choice=0) | Finished(choice=0):
            return True
        case _:
            return isinstance(event, Started | UsageReported | StreamFailed)


def _is_open_thought(event: ChatEvent) -> bool:
    return isinstance(event, ReasoningDelta) and event.signature is None and event.redacted is None


def _candidates(fields: Fields) -> int:
    """Return how many choices were asked for."""
    n: Any = msgspec.json.decode(fields.get("n", b"1"))
    return n if isinstance(n, int) else 1


def _asks_for_json(fields: Fields) -> bool:
    return not _FORMATS.isdisjoint(fields) or b'"json_' in bytes(fields.get("text", b""))


def _text_of(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def _left(limit: int, broken: Interrupted) -> int:
    """Return what of the caller's output limit is left."""
    return max(1, limit - broken.tokens)


class Resumed:
    """The passage behind a seam: in the caller's dialect, as one stream with what was there before."""

    def __init__(self, writer: StreamWriter, broken: Interrupted):
        """``writer`` stands where the stream broke."""
        self.said: list[ChatEvent] = list(broken.said)
        """What the caller has seen, once these bytes are passed on."""
        self._ends_thought = bool(self.said) and _is_open_thought(self.said[-1])
        self._writer = writer
        self._joint = Joint(broken.text, anew=broken.mode == "restart")
        self._tokens_before = broken.tokens

    def carry(self, frame: bytes, events: list[ChatEvent]) -> bytes:
        return b"".join([self._write(joined) for event in events for joined in self._join(event)])

    def end(self) -> bytes:
        rest = self._joint.flush()
        return (self._write(TextDelta(text=rest)) if rest else b"") + self._writer.end()

    def finish(self, usage: Usage) -> bytes:
        """End an answer that was whole when its stream broke, with ``usage`` where its provider had not told it yet."""
        written = b""
        if not any(isinstance(event, Finished) for event in self.said):
            written += self._write(Finished(reason="stop"))
        if not any(isinstance(event, UsageReported) for event in self.said):
            written += self._write(UsageReported(usage=usage))
        return written + self._writer.end()

    def _join(self, event: ChatEvent) -> list[ChatEvent]:
        match event:
            case Started():
                return []
            case TextDelta():
                text = self._joint.feed(event.text)
                return [TextDelta(text=text)] if text else []
            case Finished():
                rest = self._joint.flush()
                return [TextDelta(text=rest), event] if rest else [event]
            case UsageReported():
                return [self._with_what_was_before(event)]
            case ReasoningDelta() if self._ends_thought:
                self._ends_thought = False  # what the next one thinks, and signs, is a thought of its own
                return [ReasoningDelta(signature=UNSIGNED), event]
            case _:
                return [event]

    def _with_what_was_before(self, event: UsageReported) -> UsageReported:
        """Count the first part of the answer too: for the caller it is one."""
        usage = event.usage
        tokens = None if usage.output_tokens is None else usage.output_tokens + self._tokens_before
        return UsageReported(
            usage=msgspec.structs.replace(usage, output_tokens=tokens), service_tier=event.service_tier
        )

    def _write(self, event: ChatEvent) -> bytes:
        self.said.append(event)
        return self._writer.write(event)


class Joint:
    """Joins a continuation to the text before it: what it says a second time is left out.

    Models that were asked to go on often repeat the last words, or all of it. So the beginning of the new text is held
    back for as long as it may still be a repetition. Pure.
    """

    def __init__(self, before: str, *, anew: bool = False):
        self._before = before
        self._anew = anew
        self._held: str | None = ""
        """``None`` once it is decided: from then on everything passes."""

    def feed(self, text: str) -> str:
        """Take more of the new text and return what may be shown of it now."""
        if self._held is None:
            return text
        self._held += text
        if self._repeats_all(self._held):
            is_open = len(self._held) < len(self._before)
        else:
            is_open = not self._anew and self._may_overlap(self._held)
        return "" if is_open else self.flush()

    def flush(self) -> str:
        """Decide with what has come, and return what of it is new."""
        held, self._held = self._held, None
        if not held:
            return ""
        if self._repeats_all(held):
            return held[len(self._before) :]
        if self._anew:
            return "\n\n" + held
        overlap = self._overlap(held)
        space = self._before[len(self._before.rstrip()) :]
        if not overlap and space and held.startswith(space):
            overlap = len(space)  # the target was not shown the white space at the end of the text
        return held[overlap:]

    def _repeats_all(self, text: str) -> bool:
        """Whether it has said so far just what was said before, from the beginning."""
        return bool(self._before) and (self._before.startswith(text) or text.startswith(self._before))

    def _may_overlap(self, text: str) -> bool:
        """Whether the end of the old text may still turn out to be the beginning of the new."""
        return text in self._before[-_LONGEST_OVERLAP:]

    def _overlap(self, text: str) -> int:
        """Return how many characters of the new text were said already."""
        end = self._before[-_LONGEST_OVERLAP:]
        for size in range(min(len(end), len(text)), _LEAST_OVERLAP - 1, -1):
            if end.endswith(text[:size]):
                return size
        return 0
