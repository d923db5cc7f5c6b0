"""Owns ``/v1/files``: files for batches and their results, and for vector stores, in the shape of OpenAI's SDK."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from backstay.api.auth import Authenticate
from backstay.api.bodies import announced_bytes, too_large
from backstay.api.uploads import Upload
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, Forbidden, InvalidRequest
from backstay.jobs import Files
from backstay.jobs.files import FileWriter
from backstay.jobs.types import LATEST_EXPIRY_S, SOONEST_EXPIRY_S, File
from backstay.providers import OPENAI

Handle = Callable[[Request, Caller], Awaitable[Response]]
Forget = Callable[[Caller, str], Awaitable[None]]

PURPOSES = ("batch", "assistants", "user_data")

_FORM_BYTES = 64 * 1024
"""What a form may have beside its file."""
_MOST_LISTED = 10_000
_GRACE_S = 30.0
_SLOWEST_BYTES_PER_S = 64 * 1024


def routes(
    authenticate: Authenticate, files: Files, *, max_file_bytes: int, on_delete: Forget | None = None
) -> list[Route]:
    """Build the routes of one worker. ``on_delete`` is told of a file before it goes, for what was made of it."""

    async def create(request: Request, caller: Caller) -> Response:
        announced_bytes(dict(request.headers.raw), max_file_bytes + _FORM_BYTES)
        upload = Upload(request.headers.get("content-type", ""))
        writer = await files.begin(caller, "batch")
        try:
            file = await _receive(request, upload, writer, max_file_bytes)
        except BaseException:
            await writer.drop()
            raise
        return json_answer(write_file(file))

    async def index(request: Request, caller: Caller) -> Response:
        query = request.query_params
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequest("order must be asc or desc.", param="order")
        limit = read_limit(request, default=_MOST_LISTED, most=_MOST_LISTED)
        found = await files.list(
            caller, purpose=query.get("purpose"), after=query.get("after"), limit=limit + 1, order=order
        )
        return json_answer(page([write_file(each) for each in found], limit))

    async def show(request: Request, caller: Caller) -> Response:
        return json_answer(write_file(await files.find(caller, request.path_params["file_id"])))

    async def delete(request: Request, caller: Caller) -> Response:
        file_id = request.path_params["file_id"]
        await _forget(files, caller, file_id, on_delete)
        return json_answer({"id": file_id, "object": "file", "deleted": True})

    async def content(request: Request, caller: Caller) -> Response:
        file = await files.find(caller, request.path_params["file_id"])
        headers = {"content-length": str(file.size_bytes), "cache-control": "no-store"}
        pieces = files.read(caller.tenant_id, file.file_id)
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    one = "/v1/files/{file_id}"
    return [
        Route("/v1/files", answering(authenticate, create), methods=["POST"]),
        Route("/v1/files", answering(authenticate, index), methods=["GET"]),
        Route(one, answering(authenticate, show), methods=["GET"]),
        Route(one, answering(authenticate, delete), methods=["DELETE"]),
        Route(f"{one}/content", answering(authenticate, content), methods=["GET"]),
    ]


async def _forget(files: Files, caller: Caller, file_id: str, on_delete: Forget | None) -> None:
    """Delete a file, and before it what was made of it."""
    await files.find(caller, file_id)
    if on_delete is not None:
        await on_delete(caller, file_id)
    await files.delete(caller, file_id)


async def _receive(request: Request, upload: Upload, writer: FileWriter, max_file_bytes: int) -> File:
    """Pass a form's file on, and complete it once the form is known to be good."""

    async def write(piece: bytes) -> None:
        if writer.size_bytes + len(piece) > max_file_bytes:
            raise too_large(max_file_bytes)
        await writer.write(piece)

    try:
        async with asyncio.timeout(_GRACE_S + max_file_bytes / _SLOWEST_BYTES_PER_S):
            await upload.read(_body(request), write)
    except TimeoutError:
        raise InvalidRequest("The file came too slowly. Send it faster, or send less.") from None
    if upload.filename is None:
        raise InvalidRequest("file is missing.", param="file")
    purpose = upload.fields.get("purpose")
    if purpose not in PURPOSES:
        raise InvalidRequest(
            f"purpose must be one of {', '.join(PURPOSES)}: files are taken for batches and for vector stores.",
            param="purpose",
        )
    return await writer.end(upload.filename, expires_after_s=_read_expiry(upload.fields), purpose=purpose)


def _read_expiry(fields: Mapping[str, str]) -> int | None:
    """Read after how many seconds a file is to go; ``None`` where the form does not say. Raises ``InvalidRequest``."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest("expires_after.anchor must be created_at.", param="expires_after[anchor]")
    text = seconds or ""
    if not (text.isascii() and text.isdigit() and len(text) < 9 and SOONEST_EXPIRY_S <= int(text) <= LATEST_EXPIRY_S):
        raise InvalidRequest(
            f"expires_after.seconds must be a number from {SOONEST_EXPIRY_S} to {LATEST_EXPIRY_S}.",
            param="expires_after[seconds]",
        )
    return int(text)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise InvalidRequest("The caller went away before the file was complete.") from None


def answering(authenticate: Authenticate, handle: Handle) -> Callable[[Request], Awaitable[Response]]:
    """Answer as ``handle`` does, for callers who may call models, and errors in OpenAI's shape."""

    async def answer(request: Request) -> Response:
        try:
            caller = await authenticate(dict(request.headers.raw))
            if not caller.may("call"):
                raise Forbidden("This key has no right to call models. Make one with the right `call`.")
            return await handle(request, caller)
        except BackstayError as error:
            status, headers, body = OPENAI.write_error(error)
            return Response(body, status, headers, media_type="application/json")

    return answer


def json_answer(value: Any) -> Response:
    """Answer with JSON that is nobody else's."""
    return Response(msgspec.json.encode(value), headers={"cache-control": "no-store"}, media_type="application/json")


def page(items: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Write a page of a list, of which one item more than the limit was looked for."""
    shown = items[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(items) > limit,
    }


def read_limit(request: Request, *, default: int, most: int) -> int:
    """Read ``limit``. Raises ``InvalidRequest`` where it is no number from 1 to ``most``."""
    text = request.query_params.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise InvalidRequest(f"limit must be a number from 1 to {most}.", param="limit")
    return int(text)


def write_file(file: File) -> dict[str, Any]:
    """Write a file in OpenAI's shape."""
    return {
        "id": file.file_id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        # Left out of a file that stays: the document has no null there.
        **({} if file.expires_at is None else {"expires_at": int(file.expires_at.timestamp())}),
    }
