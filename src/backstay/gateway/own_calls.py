"""Owns model calls that Backstay makes for callers of its own API: the same way as theirs, with no socket."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from backstay.cache import Directives
from backstay.core.caller import Caller
from backstay.core.errors import ProviderError
from backstay.core.money import NanoUSD, usd
from backstay.core.ports import ModelAnswer, OwnOperation
from backstay.gateway.call import Gateway, call
from backstay.gateway.gate import Gate
from backstay.gateway.types import Headers, Incoming
from backstay.gateway.whole_answer import WholeAnswer
from backstay.providers import OPENAI
from backstay.providers.sse import FrameSplitter
from backstay.tracing import Span

_PATHS: Mapping[OwnOperation, str] = {
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
}

_EXACT = Directives(exact_only=True)
"""What a prompt quotes depends on who may read it: an answer to a like one may hold what this caller may not see."""


class OwnCalls:
    """Makes them with the gateway of one worker, as far as its gate lets calls in."""

    def __init__(self, gateway: Gateway, gate: Gate):
        self._gateway = gateway
        self._gate = gate

    async def make(self, caller: Caller, operation: OwnOperation, body: Mapping[str, Any]) -> ModelAnswer:
        """Make a call that is not streamed, on OpenAI's wire.

        Raises:
            BackstayError: The call was refused, or the model gave no answer.
        """
        sink = WholeAnswer()
        span = await self._call(caller, operation, body, sink)
        return _answer(span, sink)

    async def stream(
        self, caller: Caller, body: Mapping[str, Any], on_text: Callable[[str], Awaitable[None]]
    ) -> ModelAnswer:
        """Make a chat call that is streamed, on OpenAI's wire, and return its text and usage as a completion.

        Raises:
            BackstayError: The call was refused, or the model gave no answer or broke off.
        """
        sink = _TextOfStream(on_text)
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        span = await self._call(caller, "chat", asked, sink)
        if sink.problem is not None:
            raise sink.problem
        return _answer(span, sink)

    async def _call(
        self,
        caller: Caller,
        operation: OwnOperation,
        body: Mapping[str, Any],
        sink: "WholeAnswer | _TextOfStream",
    ) -> Span | None:
        allowance = caller.terms.allowance
        spans: list[Span] = []
        if allowance is None:
            await self._call_within(caller, operation, body, sink, spans, None)
            return spans[0] if spans else None
        async with allowance.turn() as left:
            try:
                await self._call_within(caller, operation, body, sink, spans, left)
            finally:  # what was begun is recorded, however it ended; what was not let in costs nothing
                if spans:
                    allowance.spend(spans[0].cost_nanousd)
        return spans[0] if spans else None

    async def _call_within(
        self,
        caller: Caller,
        operation: OwnOperation,
        body: Mapping[str, Any],
        sink: "WholeAnswer | _TextOfStream",
        spans: list[Span],
        max_cost_nanousd: NanoUSD | None,
    ) -> None:
        sent = msgspec.json.encode(body)
        ticket = await self._gate.enter(caller.tenant_id, caller.priority, len(sent))
        try:
            incoming = Incoming(
                operation=operation,
                path=_PATHS[operation],
                dialect=OPENAI,
                caller=caller,
                body=sent,
                feature=caller.feature,
                tags=caller.tags,
                priority=caller.priority,
                cache_control=_EXACT,
                trace_id=caller.terms.trace_id,
                parent_id=caller.terms.parent_id,
                deadline_s=caller.terms.deadline_s,
                max_cost_nanousd=max_cost_nanousd,
                observe=spans.append,
            )
            await call(self._gateway, incoming, sink)
        finally:
            self._gate.leave(ticket)


def _answer(span: Span | None, sink: "WholeAnswer | _TextOfStream") -> ModelAnswer:
    if sink.status != 200:
        headers = {name.decode(): value.decode("latin-1") for name, value in sink.headers.items()}
        raise OPENAI.read_error(sink.status, headers, sink.body)
    return ModelAnswer(
        body=sink.body,
        trace_id=sink.headers.get(b"x-backstay-trace-id", b"").decode(),
        cost_usd=_cost(span, sink.headers),
    )


def _cost(span: Span | None, headers: Mapping[bytes, bytes]) -> str | None:
    """Read it where the answer's head could tell it already, else of what was recorded at the stream's end."""
    told = headers.get(b"x-backstay-cost-usd")
    if told is not None:
        return told.decode()
    return None if span is None or span.cost_nanousd is None else usd(span.cost_nanousd)


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class _TextOfStream:
    """Reads a stream of OpenAI's wire as it comes, and is the completion that it would have been in the end."""

    def __init__(self, on_text: Callable[[str], Awaitable[None]]):
        self.begun = False
        self.status = 0
        self.headers: Mapping[bytes, bytes] = {}
        self.problem: ProviderError | None = None
        """Why the stream broke off."""
        self._whole: bytes | None = None
        self._on_text = on_text
        self._frames = FrameSplitter()
        self._texts: list[str] = []
        self._usage: dict[str, Any] | None = None
        self._finish: str | None = None

    @property
    def body(self) -> bytes:
        if self._whole is not None:
            return self._whole
        message = {"role": "assistant", "content": "".join(self._texts)}
        choice = {"index": 0, "message": message, "finish_reason": self._finish}
        return msgspec.json.encode({"choices": [choice], "usage": self._usage})

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Take an error, which comes whole."""
        self.begun, self.status, self.headers, self._whole = True, status, dict(headers), body

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun, self.status, self.headers = True, status, dict(headers)

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        for frame in self._frames.feed(chunk):
            for line in frame.splitlines():
                if line.startswith(b"data:") and (data := line[5:].strip()) not in (b"", b"[DONE]"):
                    await self._take(msgspec.json.decode(data, type=_Chunk))

    async def _take(self, chunk: _Chunk) -> None:
        if chunk.error is not None:
            self.problem = ProviderError(str(chunk.error.get("message") or "The answer model broke off."))
            return
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices:
            self._finish = choice.finish_reason or self._finish
            if choice.delta.content:
                self._texts.append(choice.delta.content)
                await self._on_text(choice.delta.content)
