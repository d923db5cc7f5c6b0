"""Owns ``/v1/batches``: files of calls, run later, in the shape of OpenAI's SDK."""

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.access.checks import invalid
from backstay.api.auth import Authenticate
from backstay.api.endpoint import read_bytes
from backstay.api.files import answering, json_answer, page, read_limit
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.jobs import Batches
from backstay.jobs.types import LATEST_EXPIRY_S, SOONEST_EXPIRY_S, Batch

_Name = Annotated[str, msgspec.Meta(max_length=64)]
_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Seconds = Annotated[int, msgspec.Meta(ge=SOONEST_EXPIRY_S, le=LATEST_EXPIRY_S)]


class Expiry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a batch's result files stay, from when they are made. Source: as below, BatchFileExpirationAfter."""

    anchor: Literal["created_at"]
    seconds: _Seconds


class NewBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a batch is asked for with. Source: OpenAI's OpenAPI document, CreateBatchRequest (2025-11)."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Annotated[dict[_Name, _Text], msgspec.Meta(max_length=16)] | None = None
    output_expires_after: Expiry | None = None


def routes(authenticate: Authenticate, batches: Batches) -> list[Route]:
    """Build the routes of one worker."""

    async def create(request: Request, caller: Caller) -> Response:
        asked = await _read(request)
        batch = await batches.create(
            caller,
            endpoint=asked.endpoint,
            input_file_id=asked.input_file_id,
            completion_window=asked.completion_window,
            metadata=asked.metadata,
            output_expires_after_s=None if asked.output_expires_after is None else asked.output_expires_after.seconds,
        )
        return json_answer(write_batch(batch))

    async def index(request: Request, caller: Caller) -> Response:
        limit = read_limit(request, default=20, most=100)
        found = await batches.list(caller, after=request.query_params.get("after"), limit=limit + 1)
        return json_answer(page([write_batch(each) for each in found], limit))

    async def show(request: Request, caller: Caller) -> Response:
        return json_answer(write_batch(await batches.find(caller, request.path_params["batch_id"])))

    async def cancel(request: Request, caller: Caller) -> Response:
        return json_answer(write_batch(await batches.cancel(caller, request.path_params["batch_id"])))

    one = "/v1/batches/{batch_id}"
    return [
        Route("/v1/batches", answering(authenticate, create), methods=["POST"]),
        Route("/v1/batches", answering(authenticate, index), methods=["GET"]),
        Route(one, answering(authenticate, show), methods=["GET"]),
        Route(f"{one}/cancel", answering(authenticate, cancel), methods=["POST"]),
    ]


async def _read(request: Request) -> NewBatch:
    text = await read_bytes(request)
    try:
        return msgspec.json.decode(text, type=NewBatch)
    except msgspec.ValidationError as error:
        raise invalid(error, NewBatch) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None


def write_batch(batch: Batch) -> dict[str, Any]:
    """Write a batch in OpenAI's shape."""
    return {
        "id": batch.batch_id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": None if batch.errors is None else {"object": "list", "data": batch.errors},
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "completed_at": _seconds(batch.completed_at),
        "failed_at": _seconds(batch.failed_at),
        "expired_at": _seconds(batch.expired_at),
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": _seconds(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
        "model": batch.model,
        "usage": batch.usage,
    }


def _seconds(moment: dt.datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
