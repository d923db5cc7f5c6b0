"""Owns one running simulation: its script, its count of calls, and what it did so far. No I/O."""

from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from backstay.core.clock import Clock, SystemClock
from backstay.core.embeddings import EmbeddingResponse
from backstay.core.errors import InvalidRequest
from backstay.core.usage import Usage
from backstay.providers.rerank_wire import read_rerank_request
from backstay.providers.simulator.content import input_tokens, tokens_in
from backstay.providers.simulator.embedding import embed
from backstay.providers.simulator.performance import Performance, named, perform_body, perform_error, perform_plan
from backstay.providers.simulator.plan import chance_of, plan
from backstay.providers.simulator.reranking import perform_rerank
from backstay.providers.simulator.responses import SimulatedResponses
from backstay.providers.simulator.script import Script, read_script
from backstay.providers.types import Dialect, EmbeddingsWire, Fields, Operation


class Simulation:
    """Decides what the n-th call gets. The same seed, script and n-th request give the same answer in each run."""

    def __init__(self, script: Mapping[str, Any] | Script | None, *, seed: int = 0, clock: Clock | None = None):
        """Begin. Raises ``ConfigError`` where the script is not valid."""
        self._clock = clock or SystemClock()
        self.seed = seed
        self.script = script if isinstance(script, Script) else read_script(script or {})
        self.outcomes: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Start anew: the next call is the first, the schedule's time is 0, nothing has been counted."""
        self._sequence = 0
        self._began_ns = self._clock.monotonic_ns()
        self._responses = SimulatedResponses()
        self.outcomes.clear()

    def perform(
        self, dialect: Dialect, operation: Operation, body: bytes, addressed: Fields | None = None
    ) -> Performance:
        """Decide what one call gets. ``addressed``: the fields that the dialect has in its URL instead of its body."""
        sequence = self._sequence
        self._sequence += 1
        try:
            performance = self._perform(dialect, operation, body, addressed or {}, sequence)
        except InvalidRequest as error:
            performance = perform_error(error, dialect, outcome="invalid")
        self.outcomes[performance.outcome] += 1
        return performance

    def _perform(
        self, dialect: Dialect, operation: Operation, body: bytes, addressed: Fields, sequence: int
    ) -> Performance:
        fields = {**_fields(body), **addressed}
        if operation == "embeddings" and dialect.embeddings is not None:
            return perform_body(_embed(dialect.embeddings, fields))
        if operation == "count_tokens" and dialect.counter is not None:
            counter = dialect.counter
            return perform_body(counter.write_count(input_tokens(counter.read_request(fields))))
        elapsed_s = (self._clock.monotonic_ns() - self._began_ns) / 1e9
        if operation == "rerank":
            wanted = read_rerank_request(fields)
            behaviour = self.script.behaviour(wanted.model, elapsed_s)
            return perform_rerank(wanted, behaviour, chance_of(self.seed, sequence, body), dialect)
        own, fields = fields, self._responses.expand(fields) if dialect.name == "responses" else fields
        request = dialect.read_request(fields)
        behaviour = self.script.behaviour(request.model, elapsed_s)
        created_s = self._clock.now_ns() // 1_000_000_000
        planned = plan(behaviour, request, chance_of(self.seed, sequence, body), created_s=created_s)
        if dialect.name == "responses":
            dialect = self._responses.dialect(own)
            if planned.fault is None:
                self._responses.keep(own, named(planned.response, dialect))
        return perform_plan(planned, request, dialect)

    def manage_response(self, method: str, response_id: str) -> Performance:
        """Show (``GET``) or delete (``DELETE``) a response of an earlier call."""
        return self._responses.manage(method, response_id)


def address(model: str, *, stream: bool) -> Fields:
    """Return the fields that a URL with the model in it stands for."""
    return {"model": msgspec.Raw(msgspec.json.encode(model)), "stream": msgspec.Raw(msgspec.json.encode(stream))}


def _embed(wire: EmbeddingsWire, fields: Fields) -> bytes:
    wanted = wire.read_request(fields)
    texts = [item if isinstance(item, str) else " ".join(map(str, item)) for item in wanted.inputs]
    vectors = tuple(array("f", embed(text, wanted.dimensions)).tolist() for text in texts)
    usage = Usage(input_tokens=sum(map(tokens_in, texts)))
    return wire.write_response(EmbeddingResponse(vectors=vectors, usage=usage), wanted)


def _fields(body: bytes) -> Fields:
    try:
        return msgspec.json.decode(body, type=Fields)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from error
