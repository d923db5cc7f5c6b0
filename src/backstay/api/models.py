"""Owns ``GET /v1/models``: the models that a key may use, in the shape of the SDK that asks."""

from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.api.auth import Authenticate
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, UnknownModel
from backstay.providers import ANTHROPIC, OPENAI, Dialect

ListModels = Callable[[Caller], list[str]]

_EPOCH = "1970-01-01T00:00:00Z"
"""Models here have no date of release; both vendors' shapes require one."""


def routes(authenticate: Authenticate, list_models: ListModels) -> list[Route]:
    """Build ``/v1/models`` and ``/v1/models/{name}``. A request with ``anthropic-version`` gets Anthropic's shape."""

    async def index(request: Request) -> Response:
        dialect = _dialect(request)
        try:
            names = list_models(await authenticate(dict(request.headers.raw)))
        except BackstayError as error:
            return _error(dialect, error)
        return _json(_anthropic_list(names) if dialect is ANTHROPIC else _openai_list(names))

    async def one(request: Request) -> Response:
        dialect, name = _dialect(request), request.path_params["name"]
        try:
            names = list_models(await authenticate(dict(request.headers.raw)))
            if name not in names:
                raise UnknownModel(f"There is no model {name!r}.", param="model")
        except BackstayError as error:
            return _error(dialect, error)
        return _json(_anthropic_model(name) if dialect is ANTHROPIC else _openai_model(name))

    return [Route("/v1/models", index), Route("/v1/models/{name:path}", one)]


def _dialect(request: Request) -> Dialect:
    return ANTHROPIC if "anthropic-version" in request.headers else OPENAI


def _openai_model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "backstay"}


def _openai_list(names: list[str]) -> dict[str, object]:
    return {"object": "list", "data": [_openai_model(name) for name in names]}


def _anthropic_model(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _EPOCH}


def _anthropic_list(names: list[str]) -> dict[str, object]:
    return {
        "data": [_anthropic_model(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _json(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _error(dialect: Dialect, error: BackstayError) -> Response:
    status, headers, body = dialect.write_error(error)
    return Response(body, status, headers, media_type="application/json")
