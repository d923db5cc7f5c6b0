"""Owns the plan of one simulated call as bytes and waits: what a socket shows. Pure."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from backstay.core.chat import ChatRequest, ChatResponse
from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.errors import kind_of
from backstay.providers.simulator.plan import Plan, events_of
from backstay.providers.simulator.script import Fault
from backstay.providers.types import Dialect

Ending = Literal["complete", "break", "hang"]
"""``complete``: a good end of the HTTP answer. ``break``: the connection breaks. ``hang``: it stays open, silent."""

_JSON = {"content-type": "application/json"}

_ID_PREFIX = {"openai": "chatcmpl-", "responses": "resp_", "anthropic": "msg_"}
"""How the ids of a dialect's answers begin, if they all begin alike."""


class Piece(msgspec.Struct, frozen=True):
    """Bytes, after a wait."""

    wait_s: float
    data: bytes


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the other side sees of one call, in order."""

    outcome: str
    """For the statistics: ``answer``, or the kind of fault; ``invalid`` where the request was not understood."""
    latency_s: float = 0.0
    status: int | None = 200
    """``None``: the ending comes before any byte."""
    headers: Mapping[str, str] = {}
    pieces: tuple[Piece, ...] = ()
    ending: Ending = "complete"


def perform_error(error: BackstayError, dialect: Dialect, *, outcome: str, latency_s: float = 0.0) -> Performance:
    """Answer with an error in the dialect's shape."""
    status, headers, body = dialect.write_error(error)
    # Vendors leave it to the client whether to try again.
    headers.pop("x-should-retry", None)
    status = error.status if isinstance(error, ProviderError) else status
    return Performance(
        outcome=outcome, latency_s=latency_s, status=status, headers=_JSON | headers, pieces=(Piece(0.0, body),)
    )


def perform_body(body: bytes) -> Performance:
    """Answer at once with one JSON document."""
    return Performance(outcome="answer", headers=_JSON, pieces=(Piece(0.0, body),))


def named(response: ChatResponse, dialect: Dialect) -> ChatResponse:
    """Give an answer an id as the dialect's vendor makes them."""
    return msgspec.structs.replace(response, id=_ID_PREFIX.get(dialect.name, "") + response.id)


def perform_plan(plan: Plan, request: ChatRequest, dialect: Dialect) -> Performance:
    """Answer a chat as planned."""
    outcome = plan.fault.kind if plan.fault else "answer"
    if (struck := _struck_before(plan, dialect, is_stream=request.stream)) is not None:
        return struck
    plan = msgspec.structs.replace(plan, response=named(plan.response, dialect))
    if request.stream:
        return _stream(plan, request, dialect, outcome)
    return _whole(plan, dialect.write_response(plan.response), outcome)


def perform_body_struck(plan: Plan, body: bytes, dialect: Dialect) -> Performance:
    """Answer what is no chat with one JSON document, as late and with the fault that was planned."""
    struck = _struck_before(plan, dialect, is_stream=False)
    return struck or _whole(plan, body, plan.fault.kind if plan.fault else "answer")


def _struck_before(plan: Plan, dialect: Dialect, *, is_stream: bool) -> Performance | None:
    """Return what a fault makes of a call that gets no answer at all; ``None``: it gets one, or a part."""
    fault = plan.fault
    if fault is None:
        return None
    if fault.kind == "status" or (fault.kind == "error_event" and not is_stream):
        return perform_error(_error(fault), dialect, outcome=fault.kind, latency_s=plan.latency_s)
    if fault.kind == "reset":
        return Performance(outcome=fault.kind, latency_s=plan.latency_s, status=None, ending="break")
    if fault.kind == "hang" and fault.after_tokens is None:
        return Performance(outcome=fault.kind, latency_s=plan.latency_s, status=None, ending="hang")
    return None


def _error(fault: Fault) -> ProviderError:
    message = fault.message or f"Simulated: the provider answers with status {fault.status}."
    return ProviderError(message, status=fault.status, kind=kind_of(fault.status), retry_after_s=fault.retry_after_s)


def _whole(plan: Plan, body: bytes, outcome: str) -> Performance:
    tokens = plan.response.usage.output_tokens or 0
    latency_s = plan.latency_s + plan.first_token_s + plan.token_s * tokens
    pieces, ending = (Piece(0.0, body),), "complete"
    half = len(body) // 2
    match plan.fault.kind if plan.fault else None:
        case "malformed":
            pieces = (Piece(0.0, body[:half]),)
        case "cut":
            pieces, ending = (Piece(0.0, body[:half]),), "break"
        case "hang":
            pieces, ending = (Piece(0.0, body[:half]),), "hang"
        case "stall":
            assert plan.fault is not None
            pieces = (Piece(0.0, body[:half]), Piece(plan.fault.stall_s, body[half:]))
        case _:
            pass
    headers = _JSON | {"content-length": str(len(body) if outcome != "malformed" else half)}
    return Performance(outcome=outcome, latency_s=latency_s, headers=headers, pieces=pieces, ending=ending)


def _stream(plan: Plan, request: ChatRequest, dialect: Dialect, outcome: str) -> Performance:
    writer = dialect.stream_writer(request)
    pieces: list[Piece] = []
    tokens_before: list[int] = []
    tokens = 0
    for is_token, event in events_of(plan.response):
        data = writer.write(event)
        wait_s = (plan.token_s if tokens else plan.first_token_s) if is_token else 0.0
        if data:
            pieces.append(Piece(wait_s, data))
            tokens_before.append(tokens)
        tokens += is_token
    pieces.append(Piece(0.0, writer.end()))
    tokens_before.append(tokens)
    ending: Ending = "complete"
    if plan.fault is not None:
        pieces, ending = _struck(pieces, tokens_before, plan.fault, dialect)
    headers = {"content-type": dialect.framing.content_type, "cache-control": "no-cache"}
    return Performance(outcome=outcome, latency_s=plan.latency_s, headers=headers, pieces=tuple(pieces), ending=ending)


def _struck(
    pieces: list[Piece], tokens_before: list[int], fault: Fault, dialect: Dialect
) -> tuple[list[Piece], Ending]:
    """Strike a stream before the piece that follows ``after_tokens`` tokens."""
    after = tokens_before[-1] // 2 if fault.after_tokens is None else min(fault.after_tokens, tokens_before[-1])
    # The last piece with so many tokens before it is the next token, or else the end of the stream.
    at = max(index for index, before in enumerate(tokens_before) if before <= after)
    before, struck, rest = pieces[:at], pieces[at], pieces[at + 1 :]
    match fault.kind:
        case "cut":
            return before, "break"
        case "hang":
            return before, "hang"
        case "error_event":
            return [*before, Piece(struck.wait_s, dialect.write_stream_error(_error(fault)))], "complete"
        case "malformed":
            return [*before, Piece(struck.wait_s, _spoiled(struck.data, dialect)), *rest], "complete"
        case "stall":
            return [*before, Piece(struck.wait_s + fault.stall_s, struck.data), *rest], "complete"
        case _:
            return pieces, "complete"


def _spoiled(data: bytes, dialect: Dialect) -> bytes:
    """Make the first frame one whose data nobody can read."""
    first, *rest = dialect.framing.splitter().feed(data)
    return dialect.framing.spoil(first) + b"".join(rest)
