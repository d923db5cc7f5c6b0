"""Owns what callers are shown of a call that is made later. Pure."""

import datetime as dt
from typing import Any, Literal

import msgspec

from backstay.jobs.later import LaterCall
from backstay.jobs.types import JobState

CallStatus = Literal["queued", "running", "completed", "failed"]
STATUS: dict[JobState, CallStatus] = {
    "waiting": "queued",
    "running": "running",
    "done": "completed",
    "failed": "failed",
    "cancelled": "failed",
}


class LaterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model's wire would have answered."""

    status_code: int
    request_id: str
    """The call's trace."""
    body: Any


class LaterError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call was not made."""

    code: str
    message: str


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """How a call's webhook stands."""

    url: str
    status: Literal["waiting", "delivered", "failed"]
    tries: int
    error: str | None
    """Of the last try; ``None`` where it went well, or none was made."""


class LaterView(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is made later."""

    id: str
    status: CallStatus
    path: str
    created_at: dt.datetime
    completed_at: dt.datetime | None
    response: LaterAnswer | None
    error: LaterError | None
    webhook: WebhookView | None


def view_call(call: LaterCall) -> LaterView:
    """Write a call as its caller sees it."""
    response = webhook = error = None
    if call.answer is not None and call.http_status is not None:
        response = LaterAnswer(status_code=call.http_status, request_id=call.trace_id, body=msgspec.Raw(call.answer))
    if call.error is not None:
        error = LaterError(code=call.error["code"], message=call.error["message"])
    if call.webhook_url is not None:
        webhook = WebhookView(
            url=call.webhook_url,
            status=msgspec.convert(call.webhook_state or "waiting", Literal["waiting", "delivered", "failed"]),
            tries=call.webhook_tries,
            error=call.webhook_error,
        )
    return LaterView(
        id=call.job_id,
        status=STATUS[call.state],
        path=call.path,
        created_at=call.created_at,
        completed_at=call.finished_at,
        response=response,
        error=error,
        webhook=webhook,
    )
