"""Owns how errors are said on Backstay's own API: problem details (RFC 9457), with the headers that belong to them."""

import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from backstay.core.errors import BackstayError

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong, for people (``detail``) and for programs (``code``).

    Source: RFC 9457 (2023-07): ``type``, ``title``, ``status`` and ``detail``; the others are extension members.
    """

    type: str
    """``urn:backstay:problem:`` and the code."""
    title: str
    status: int
    detail: str
    code: str
    param: str | None = None
    """The field that is wrong, where one is."""
    retry_after_s: int | None = None
    """Seconds to wait before trying again, where that helps."""


def problem_response(error: BackstayError) -> Response:
    """Answer with an error."""
    retry_after_s = None if error.retry_after_s is None else max(1, math.ceil(error.retry_after_s))
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="backstay"'
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    return _response(error.code, error.status, error.message, headers, param=error.param, retry_after_s=retry_after_s)


def http_problem_response(error: HTTPException) -> Response:
    """Answer with an error of HTTP itself: no such path, method, or media type."""
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return _response(code, error.status_code, error.detail, error.headers or {})


async def on_backstay_error(request: Request, error: Exception) -> Response:
    """Handle an error of Backstay's own in a Starlette application."""
    assert isinstance(error, BackstayError)
    return problem_response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handle an error of HTTP itself in a Starlette application."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:  # of the router, which has no words for it
        error.detail = f"There is nothing at {request.url.path}. `GET /openapi.json` lists what there is."
    return http_problem_response(error)


async def on_unforeseen_error(request: Request, error: Exception) -> Response:
    """Handle any other error: what went wrong inside is for the log, not for the caller."""
    return problem_response(BackstayError())


EXCEPTION_HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    BackstayError: on_backstay_error,
    HTTPException: on_http_error,
    Exception: on_unforeseen_error,
}
"""For ``Starlette(exception_handlers=…)``: what no route answers is answered as a problem too."""


def _response(code: str, status: int, detail: str, headers: Mapping[str, str], **members: Any) -> Response:
    title = code.replace("_", " ").capitalize()
    problem = Problem(
        type=f"urn:backstay:problem:{code}", title=title, status=status, detail=detail, code=code, **members
    )
    return Response(msgspec.json.encode(problem), status, {**headers, "cache-control": "no-store"}, MEDIA_TYPE)
