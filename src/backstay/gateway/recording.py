"""Owns what a call leaves of itself: its spans and ledger entries, built up as it goes and written as one frame."""

from typing import Any, Protocol

import msgspec

from backstay.budgets import Charge
from backstay.cache import Hit
from backstay.core.chat import ChatEvent
from backstay.core.clock import Clock
from backstay.core.errors import BackstayError, ProviderError
from backstay.core.ids import new_span_id, new_trace_id
from backstay.core.money import NanoUSD
from backstay.core.usage import NO_USAGE, Usage
from backstay.gateway.body import read_asked_model
from backstay.gateway.resolve import Resolved
from backstay.gateway.tries import Reason
from backstay.gateway.types import Incoming, Target
from backstay.gateway.waste import why_unused
from backstay.health import Outcome
from backstay.idempotency import Claim
from backstay.jobs import JobEnd
from backstay.ledger import Cost, LedgerEntry
from backstay.limits import Admission
from backstay.providers import ReplySummary, accumulate
from backstay.records import CallDocument, IntentDocument
from backstay.tracing import Span, SpanStatus
from backstay.tracing.types import BATCH_ID

_encoder = msgspec.json.Encoder()


class Attempt(msgspec.Struct, kw_only=True):
    """One try at one target, while it runs and after."""

    target: Target
    reason: Reason
    started_ns: int
    span_id: str
    ended_ns: int = 0
    status: SpanStatus = "ok"
    error: BackstayError | None = None
    http_status: int | None = None
    first_token_ns: int | None = None
    summary: ReplySummary | None = None
    """Of a whole answer; ``None`` while there is none."""
    events: list[ChatEvent] = msgspec.field(default_factory=list[ChatEvent])
    """Of a stream: what was said so far."""
    outcome: Outcome | None = None
    """What its end showed of the target; ``None`` while it runs."""
    seam: int | None = None
    """Of a stream that goes on where another broke: how many characters of text the caller had seen."""
    malformed_events: int = 0
    """Of a stream: events that were no JSON and were left out."""
    cost: Cost | None = None
    """``None``: nothing is billed for it (the provider refused it). A cost of unknown amount is not ``None``."""

    @property
    def usage(self) -> Usage:
        return self.summary.usage if self.summary else NO_USAGE


class Keeper(Protocol):
    """What must have a good answer before its caller has the last byte."""

    async def keep(self, last: bytes, *, is_stream: bool) -> None: ...


class Spends(Protocol):
    """What a call has reserved of its budgets."""

    @property
    def is_over(self) -> bool: ...

    @property
    def worst(self) -> NanoUSD: ...

    def pledges(self) -> tuple[Charge, ...]: ...

    def settle(self) -> tuple[Charge, ...]: ...


class Recording:
    """The record of one call. ``started_ns`` and the like are monotonic; ``at_ns`` is the wall clock."""

    def __init__(self, incoming: Incoming, clock: Clock):
        self.incoming = incoming
        self.call_id = new_span_id()
        self.trace_id = incoming.trace_id or new_trace_id()
        self.at_ns = clock.now_ns()
        self.started_ns = clock.monotonic_ns()
        self.clock = clock
        self.request: Resolved | None = None
        self.admission: Admission | None = None
        self.keeper: Keeper | None = None
        """Of a response that callers may go on from by id."""
        self.spending: Spends | None = None
        """What it may cost; ``None`` where nothing bounds or counts that."""
        self.holder: str | None = None
        self.charges: tuple[Charge, ...] = ()
        """Once it is settled: what it cost its budgets."""
        self.claim: Claim | None = None
        """On the call's idempotency key."""
        self.origin_id: str | None = None
        """The trace of the call whose answer is given again."""
        self.attempts: list[Attempt] = []
        self.error: BackstayError | None = None
        self.status: SpanStatus = "ok"
        self.http_status: int | None = None
        self.output = b""
        self.said: list[ChatEvent] = []
        """Of a stream: what the caller has seen, which may come from several attempts."""
        self.degraded: str | None = None
        """What stood in for a real answer: ``target``, ``message`` or ``cache_stale``."""
        self.written = False
        self.hit: Hit | None = None
        self.repeats = 0
        """Of a call that is one of a loop: how many calls the loop has so far."""
        self.missed = False
        """Whether the cache was asked and had no answer."""

    def begin_attempt(self, target: Target, reason: Reason) -> Attempt:
        attempt = Attempt(target=target, reason=reason, started_ns=self.clock.monotonic_ns(), span_id=new_span_id())
        self.attempts.append(attempt)
        return attempt

    def end_attempt(self, attempt: Attempt, error: BackstayError | None = None) -> None:
        """Close an attempt; the first time counts."""
        if attempt.ended_ns:
            return
        attempt.ended_ns = self.clock.monotonic_ns()
        attempt.error = error
        attempt.status = "error" if error is not None else self.status

    def cancel_attempt(self, attempt: Attempt) -> None:
        """Close an attempt that is not waited for any more; the first time counts."""
        self.end_attempt(attempt)
        if attempt.error is None and attempt.summary is None:
            attempt.status = "cancelled"

    def answered_by(self, attempt: Attempt) -> None:
        """Note which attempt gave the answer: it is the last one, whenever it began."""
        self.attempts.remove(attempt)
        self.attempts.append(attempt)

    def fail(self, error: BackstayError) -> None:
        self.status, self.error, self.http_status = "error", error, error.status

    def close(self) -> None:
        """Close what is still open, with what became of the call."""
        for attempt in self.attempts:
            self.end_attempt(attempt, self.error)

    @property
    def cost_nanousd(self) -> NanoUSD | None:
        """The sum over what was billed; ``None`` where any of it is unknown; 0 where nothing was billed."""
        total = 0
        for attempt in self.attempts:
            if attempt.cost is None:
                continue
            if attempt.cost.amount_nanousd is None:
                return None
            total += attempt.cost.amount_nanousd
        return NanoUSD(total)

    def _usage(self) -> Usage:
        """Sum what the billed attempts used, as the cost does: ``None`` where any of it is unknown."""
        billed = [attempt.usage for attempt in self.attempts if attempt.cost is not None]
        return Usage(
            input_tokens=_sum_known([usage.input_tokens for usage in billed]),
            output_tokens=_sum_known([usage.output_tokens for usage in billed]),
        )

    def intent(self) -> list[bytes]:
        """Write the parts of the intent's frame. The request must be resolved."""
        request, incoming = self.request, self.incoming
        assert request is not None
        document = IntentDocument(
            tenant_id=incoming.caller.tenant_id,
            call_id=self.call_id,
            trace_id=self.trace_id,
            parent_id=incoming.parent_id,
            at_ns=self.at_ns,
            operation=incoming.operation,
            model=request.model.name,
            target=request.model.targets[0].name,
            key_id=incoming.caller.id,
            user_id=request.user,
            feature=incoming.feature,
            tags=incoming.tags,
            dialect=incoming.dialect.name,
            idempotency_key=incoming.idempotency_key,
            holder=self.holder,
            pledges=self.spending.pledges() if self.spending is not None else (),
            worst_nanousd=self.spending.worst if self.spending is not None else None,
            batch_id=incoming.batch_id,
        )
        return [_encoder.encode(document)]

    def frame(self, root: Span, *, capture: bool) -> list[bytes]:
        """Write the parts of the call's frame: document, input, output.

        Args:
            root: The call's own span.
            capture: Whether the request's and the answer's text are kept.
        """
        spans, entries = [root], list[LedgerEntry]()
        for number, attempt in enumerate(self.attempts):
            spans.append(self._attempt_span(number, attempt))
            if attempt.cost is not None:
                entries.append(self._entry(number, attempt, attempt.cost))
        document = CallDocument(
            tenant_id=self.incoming.caller.tenant_id,
            spans=tuple(spans),
            entries=tuple(entries),
            claim=self.claim.told() if self.claim is not None else None,
            holder=self.holder if self.charges else None,
            charges=self.charges,
            job=self._job_end(),
        )
        if not capture:
            return [_encoder.encode(document), b"", b""]
        return [_encoder.encode(document), self.incoming.body, self._answer()]

    def _job_end(self) -> JobEnd | None:
        """Write the answer to a job; not one that only stands in for an answer that the next try may bring."""
        job_id = self.incoming.job_id
        if job_id is None or self.status != "ok" or self.degraded not in (None, "target"):
            return None
        return JobEnd(job_id=job_id, answer=self.output)

    def _answer(self) -> bytes:
        """Give the answer as it was, or, where it was streamed, in the shape that it would have had otherwise.

        Vectors are not kept: nobody reads them, and they would be most of the database.
        """
        if self.incoming.operation == "embeddings":
            return b""
        if self.output or not self.said:
            return self.output
        return self.incoming.dialect.write_response(accumulate(self.said))

    def root(self) -> Span:
        """Build the call's own span."""
        incoming, request = self.incoming, self.request
        last = self.attempts[-1] if self.attempts else None
        usage = self._usage() if len(self.attempts) > 1 else last.usage if last else NO_USAGE
        model = request.model.name if request else read_asked_model(incoming.body)
        return Span(
            span_id=self.call_id,
            trace_id=self.trace_id,
            parent_id=incoming.parent_id,
            kind="call",
            name=f"{incoming.operation} {model}" if model else incoming.operation,
            started_at_ns=self.at_ns,
            duration_ns=self.clock.monotonic_ns() - self.started_ns,
            status=self.status,
            error_code=self.error.code if self.error else None,
            error_message=self.error.message if self.error else None,
            operation=incoming.operation,
            model=model,
            target=last.target.name if last else None,
            key_id=incoming.caller.id,
            user_id=request.user if request else None,
            feature=incoming.feature,
            tags=incoming.tags,
            http_status=self.http_status,
            stream=request.stream if request else None,
            first_token_ns=self._first_token_ns(),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_nanousd=self.cost_nanousd,
            attributes=self._root_attributes(),
            input_dialect=incoming.dialect.name,
            output_dialect=incoming.dialect.name if self.output or self.said else None,
        )

    def _root_attributes(self) -> dict[str, Any]:
        """Name what the span has no field for."""
        attributes = {} if self.hit is None else _cache_attributes(self.hit)
        if self.degraded is not None:
            attributes["backstay.degraded"] = self.degraded
        if self.origin_id is not None:
            attributes["backstay.idempotency.origin"] = self.origin_id
        if self.repeats:
            attributes["backstay.loop.calls"] = self.repeats
        if self.spending is not None and self.spending.is_over:
            attributes["backstay.budget.over"] = True
        if self.incoming.batch_id is not None:
            attributes[BATCH_ID] = self.incoming.batch_id
        if self.incoming.is_shadow:
            attributes["backstay.cache.shadow"] = True
        if self.incoming.priority != "interactive":
            attributes["backstay.priority"] = self.incoming.priority
        return attributes

    def _first_token_ns(self) -> int | None:
        """When the caller saw something first: a stream that broke midway and went on began with its first part."""
        for attempt in self.attempts:
            if attempt.first_token_ns is not None:
                return attempt.first_token_ns - self.started_ns
        return None

    def _attempt_span(self, number: int, attempt: Attempt) -> Span:
        offset_ns = attempt.started_ns - self.started_ns
        usage, cost = attempt.usage, attempt.cost
        return Span(
            span_id=attempt.span_id,
            trace_id=self.trace_id,
            parent_id=self.call_id,
            kind="attempt",
            name=f"{self.incoming.operation} {attempt.target.model_id}",
            started_at_ns=self.at_ns + offset_ns,
            duration_ns=(attempt.ended_ns or self.clock.monotonic_ns()) - attempt.started_ns,
            status=attempt.status,
            error_code=attempt.error.code if attempt.error else None,
            error_message=attempt.error.message if attempt.error else None,
            operation=self.incoming.operation,
            target=attempt.target.name,
            http_status=attempt.http_status,
            first_token_ns=None if attempt.first_token_ns is None else attempt.first_token_ns - attempt.started_ns,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_nanousd=cost.amount_nanousd if cost else None,
            attributes=_attributes(number, attempt),
        )

    def _entry(self, number: int, attempt: Attempt, cost: Cost) -> LedgerEntry:
        request = self.request
        assert request is not None, "an attempt is only made once the request is resolved"
        usage = attempt.usage
        return LedgerEntry(
            call_id=self.call_id,
            attempt=number,
            at_ns=self.at_ns,
            trace_id=self.trace_id,
            key_id=self.incoming.caller.id,
            user_id=request.user,
            feature=self.incoming.feature,
            tags=self.incoming.tags,
            model=request.model.name,
            target=attempt.target.name,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_nanousd=cost.amount_nanousd,
            estimated=usage.estimated,
            price_source=cost.source,
            lines=cost.lines,
            unused="shadow" if self.incoming.is_shadow else why_unused(attempt, self.attempts, self.status),
        )


def _sum_known(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _cache_attributes(hit: Hit) -> dict[str, Any]:
    origin = hit.answer
    attributes = {"backstay.cache": hit.kind, "backstay.cache.trace_id": origin.trace_id}
    more = {
        "backstay.cache.saved_nanousd": origin.cost_nanousd if hit.kind != "stale" else None,
        "backstay.cache.question": hit.question,
        "backstay.cache.asked": hit.asked,
    }
    return {**attributes, **{name: value for name, value in more.items() if value is not None}}


def _attributes(number: int, attempt: Attempt) -> dict[str, Any]:
    """Name what its span has no field for, as OpenTelemetry's GenAI semantic conventions do."""
    attributes: dict[str, Any] = {
        "gen_ai.provider.name": attempt.target.price_provider or attempt.target.provider.name,
        "gen_ai.request.model": attempt.target.model_id,
        "backstay.attempt": number,
        "backstay.attempt.reason": attempt.reason,
    }
    if attempt.outcome not in (None, "ok"):
        attributes["backstay.attempt.outcome"] = attempt.outcome
    if attempt.seam is not None:
        attributes["backstay.attempt.seam"] = attempt.seam
    if attempt.malformed_events:
        attributes["backstay.malformed_events"] = attempt.malformed_events
    if isinstance(attempt.error, ProviderError):
        attributes["error.type"] = attempt.error.provider_code or attempt.error.kind
    if (summary := attempt.summary) is None:
        return attributes
    if summary.id is not None:
        attributes["gen_ai.response.id"] = summary.id
    if summary.model is not None:
        attributes["gen_ai.response.model"] = summary.model
    if summary.finish_reasons:
        attributes["gen_ai.response.finish_reasons"] = summary.finish_reasons
    usage = summary.usage
    for name, count in (
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
    ):
        if count:
            attributes[name] = count
    return attributes
