"""Owns what an endpoint of Backstay's own API is: one declaration that is served and documented from."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Generic, TypeVar, cast, get_origin

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from backstay.access.checks import convert, invalid
from backstay.api.auth import Authenticate
from backstay.api.problems import http_problem_response, problem_response
from backstay.core.caller import Caller, Right
from backstay.core.errors import BackstayError, Forbidden, InvalidRequest, NotFound, RequestTooLarge

MAX_BODY_BYTES = 1024 * 1024
_BODY_S = 30.0
_ID = re.compile(r"[0-9A-Za-z_:-]{1,64}")

D = TypeVar("D")
E = TypeVar("E")
Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No query parameters, or a body without fields, which may be left out."""


@dataclass(frozen=True, kw_only=True)
class Asked(Generic[Q, B]):
    """One request, its sender known and its parts read."""

    request: Request
    caller: Caller
    query: Q
    body: B

    def path(self, name: str) -> str:
        """Return an id from the path. Raises ``NotFound`` where nothing could have such an id."""
        value: str = self.request.path_params[name]
        if _ID.fullmatch(value) is None:
            raise NotFound
        return value

    @property
    def base_url(self) -> str:
        """Where this server was reached."""
        try:
            return str(self.request.base_url)
        except ValueError:
            raise InvalidRequest("The Host header is not valid.", param="host") from None


@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[D, Q, B]):
    """A method of a path: who may use it, what it takes, what it answers.

    ``query`` and ``body`` are structs whose rules are held before ``handle`` runs.
    """

    method: str
    path: str
    summary: str
    handle: Callable[[D, Asked[Q, B]], Awaitable[Any]]
    answer: Any
    """The type of what ``handle`` returns. It may return a ready ``Response`` of that content instead."""
    query: type[Q]
    body: type[B]
    right: Right | None
    """``None``: any valid credential will do."""
    status: int = 200
    errors: tuple[type[BackstayError], ...] = ()
    """Those that it raises beside what every endpoint may."""
    media_type: str = "application/json"
    other_media_types: tuple[str, ...] = ()
    """What a ready ``Response`` may be instead."""
    most_bytes: int = MAX_BODY_BYTES
    """Of the body."""

    async def respond(self, deps: D, authenticate: Authenticate, request: Request) -> Response:
        """Authenticate, read, handle."""
        caller = await authenticate(dict(request.headers.raw))
        if self.right is not None and not caller.may(self.right):
            raise Forbidden(f"This needs the right `{self.right}`, which this key does not have.")
        query = _read_query(request, self.query)
        body = await _read_body(request, self.body, self.most_bytes) if self.method == "POST" else self.body()
        result = await self.handle(deps, Asked(request=request, caller=caller, query=query, body=body))
        if isinstance(result, Response):
            return result
        return Response(msgspec.json.encode(result), self.status, {"cache-control": "no-store"}, self.media_type)


def get(
    path: str,
    summary: str,
    handle: Callable[[D, Asked[Q, Nothing]], Awaitable[Any]],
    *,
    answer: Any,
    query: type[Q],
    right: Right | None,
    errors: tuple[type[BackstayError], ...] = (),
    media_type: str = "application/json",
    other_media_types: tuple[str, ...] = (),
) -> Endpoint[D, Q, Nothing]:
    """Declare what reads."""
    return Endpoint(
        method="GET",
        path=path,
        summary=summary,
        handle=handle,
        answer=answer,
        query=query,
        body=Nothing,
        right=right,
        errors=errors,
        media_type=media_type,
        other_media_types=other_media_types,
    )


def post(
    path: str,
    summary: str,
    handle: Callable[[D, Asked[Nothing, B]], Awaitable[Any]],
    *,
    answer: Any,
    body: type[B],
    right: Right | None,
    status: int = 200,
    errors: tuple[type[BackstayError], ...] = (),
    other_media_types: tuple[str, ...] = (),
    most_bytes: int = MAX_BODY_BYTES,
) -> Endpoint[D, Nothing, B]:
    """Declare what acts. Where it makes something, ``status`` is 201."""
    return Endpoint(
        method="POST",
        path=path,
        summary=summary,
        handle=handle,
        answer=answer,
        query=Nothing,
        body=body,
        right=right,
        status=status,
        errors=errors,
        other_media_types=other_media_types,
        most_bytes=most_bytes,
    )


def put(
    path: str,
    summary: str,
    handle: Callable[[D, Asked[Q, Nothing]], Awaitable[Any]],
    *,
    answer: Any,
    query: type[Q],
    right: Right | None,
    status: int = 200,
    errors: tuple[type[BackstayError], ...] = (),
) -> Endpoint[D, Q, Nothing]:
    """Declare what takes a file: its body is bytes, which ``handle`` reads from the request as they come."""
    return Endpoint(
        method="PUT",
        path=path,
        summary=summary,
        handle=handle,
        answer=answer,
        query=query,
        body=Nothing,
        right=right,
        status=status,
        errors=errors,
    )


def within(part: Callable[[E], D], endpoints: Iterable[Endpoint[D, Any, Any]]) -> tuple[Endpoint[E, Any, Any], ...]:
    """Make endpoints into those of deps of which theirs are a part."""

    def of(endpoint: Endpoint[D, Any, Any]) -> Endpoint[E, Any, Any]:
        @wraps(endpoint.handle)
        async def handle(deps: E, asked: Asked[Any, Any]) -> Any:
            return await endpoint.handle(part(deps), asked)

        # All that changes is what it is given, which `replace` cannot say.
        return cast("Endpoint[E, Any, Any]", replace(endpoint, handle=handle))

    return tuple(map(of, endpoints))


def build_routes(endpoints: Iterable[Endpoint[D, Any, Any]], deps: D, authenticate: Authenticate) -> list[Route]:
    """Build one route a path, in the order in which the paths first come."""
    paths: dict[str, dict[str, Endpoint[D, Any, Any]]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    return [Route(path, _Resource(methods, deps, authenticate)) for path, methods in paths.items()]


class _Resource(Generic[D]):
    """A path with its methods; as an ASGI application, so that it answers every method."""

    def __init__(self, methods: Mapping[str, Endpoint[D, Any, Any]], deps: D, authenticate: Authenticate):
        self._methods = dict(methods)
        if "GET" in methods:
            self._methods["HEAD"] = methods["GET"]
        self._allow = ", ".join([*self._methods, "OPTIONS"])
        self._deps = deps
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except BackstayError as error:
            response = problem_response(error)
        except HTTPException as error:
            response = http_problem_response(error)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        endpoint = self._methods.get(request.method)
        if endpoint is not None:
            return await endpoint.respond(self._deps, self._authenticate, request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": self._allow})
        detail = f"{request.url.path} takes {self._allow}; it has no {request.method}."
        raise HTTPException(405, detail, {"allow": self._allow})


def _read_query(request: Request, to: type[Q]) -> Q:
    """Read the query's parameters; those of a tuple's type are lists between commas."""
    listed = {field.encode_name for field in msgspec.structs.fields(to) if get_origin(_bare(field.type)) is tuple}
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise InvalidRequest(f"The query parameter `{name}` is given twice.", param=name)
        values[name] = value.split(",") if name in listed else value
    query = convert(values, to, strict=False)
    for name in values:
        if getattr(query, name) is None:
            raise InvalidRequest(f"`{name}` cannot be null: leave it out instead.", param=name)
    return query


def _bare(annotated: Any) -> Any:
    """Take the rules off a type."""
    return getattr(annotated, "__origin__", annotated) if hasattr(annotated, "__metadata__") else annotated


async def _read_body(request: Request, to: type[B], most_bytes: int) -> B:
    """Read the JSON body. It may be left out where no field of it is required."""
    try:
        async with asyncio.timeout(_BODY_S):
            text = await read_bytes(request, most_bytes)
    except TimeoutError:
        raise HTTPException(408, f"The body did not arrive within {_BODY_S:g} s.") from None
    if not text and not any(field.required for field in msgspec.structs.fields(to)):
        return to()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "Send the body as JSON, with `content-type: application/json`.")
    try:
        return msgspec.json.decode(text, type=to)
    except msgspec.ValidationError as error:
        raise invalid(error, to) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None


async def read_bytes(request: Request, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Read a body of Backstay's own API. Raises ``RequestTooLarge``."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most_bytes:
            raise RequestTooLarge(f"The body is larger than {most_bytes // 1024} KiB, the most that is taken here.")
        pieces.append(piece)
    return b"".join(pieces)
