"""Owns model calls that Backstay makes for callers of its own API: the same way as theirs, with no socket."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from backstay.core.caller import Caller
from backstay.core.ports import ModelAnswer
from backstay.gateway.call import Gateway, call
from backstay.gateway.gate import Gate
from backstay.gateway.types import Incoming
from backstay.gateway.whole_answer import WholeAnswer
from backstay.providers import OPENAI

_PATHS: Mapping[Literal["chat", "embeddings"], str] = {"chat": "/v1/chat/completions", "embeddings": "/v1/embeddings"}


class OwnCalls:
    """Makes them with the gateway of one worker, as far as its gate lets calls in."""

    def __init__(self, gateway: Gateway, gate: Gate):
        self._gateway = gateway
        self._gate = gate

    async def make(
        self, caller: Caller, operation: Literal["chat", "embeddings"], body: Mapping[str, Any]
    ) -> ModelAnswer:
        """Make a call that is not streamed, on OpenAI's wire.

        Raises:
            BackstayError: The call was refused, or the model gave no answer.
        """
        sent = msgspec.json.encode(body)
        sink = WholeAnswer()
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
            )
            await call(self._gateway, incoming, sink)
        finally:
            self._gate.leave(ticket)
        if sink.status != 200:
            headers = {name.decode(): value.decode("latin-1") for name, value in sink.headers.items()}
            raise OPENAI.read_error(sink.status, headers, sink.body)
        cost = sink.headers.get(b"x-backstay-cost-usd")
        return ModelAnswer(
            body=sink.body,
            trace_id=sink.headers.get(b"x-backstay-trace-id", b"").decode(),
            cost_usd=None if cost is None else cost.decode(),
        )
