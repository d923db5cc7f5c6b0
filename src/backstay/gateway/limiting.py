"""Owns how a call meets its limits: what it may use at most, what it used, and what its caller is told."""

import msgspec

from backstay.gateway.recording import Recording
from backstay.gateway.settle import estimate_tokens
from backstay.gateway.types import Headers
from backstay.limits import Limiter
from backstay.providers import Fields
from backstay.providers.counting import OUTPUT_LIMITS


async def pass_limits(limiter: Limiter, recording: Recording) -> None:
    """Take what a call needs of its limits, until ``settle_limits``.

    Raises:
        RateLimited: One of them is used up. Nothing is taken, and the caller is told by headers when to try again.
    """
    incoming, request = recording.incoming, recording.request
    assert request is not None
    recording.admission = await limiter.admit(
        incoming.caller,
        user=request.user,
        feature=incoming.feature,
        tokens=lambda: 0 if incoming.operation == "count_tokens" else most_tokens(len(incoming.body), request.fields),
    )
    if recording.admission is not None:
        recording.admission.require()


def settle_limits(recording: Recording) -> None:
    """Give back what a call held and did not use. The recording must be settled."""
    if recording.admission is not None:
        recording.admission.settle(_used_tokens(recording))


def limit_headers(recording: Recording) -> Headers:
    """Write where the caller stands; nothing for callers without limits."""
    if recording.admission is None:
        return ()
    return recording.admission.headers(recording.incoming.dialect.name)


def most_tokens(body_bytes: int, fields: Fields) -> int:
    """Estimate the most that a request uses: a token for four bytes of it, and the longest answer that it asks for."""
    for name in OUTPUT_LIMITS:
        try:
            output = msgspec.json.decode(fields.get(name, b"null"), type=int | None)
        except msgspec.DecodeError:
            continue  # the provider says what is wrong with it
        if output is not None:
            return estimate_tokens(body_bytes) + max(0, output)
    return estimate_tokens(body_bytes)


def _used_tokens(recording: Recording) -> int | None:
    """Add up what the attempts used; ``None`` where one of them is not known."""
    total = 0
    for attempt in recording.attempts:
        if attempt.cost is None or recording.incoming.operation == "count_tokens":
            continue
        if not attempt.usage.is_known:
            return None
        total += (attempt.usage.input_tokens or 0) + (attempt.usage.output_tokens or 0)
    return total
