"""Owns ``/v1/responses/{id}``: responses that were kept, shown and deleted in the shape of OpenAI's SDK."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backstay.api.auth import Authenticate
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, InvalidRequest
from backstay.gateway import StoredResponses
from backstay.providers import RESPONSES

_Act = Callable[[Caller, str], Awaitable[bytes]]

_ALWAYS_THERE = frozenset({"message.output_text.logprobs", "reasoning.encrypted_content"})
"""What ``include`` may ask for: it is in every answer that has it."""


def routes(authenticate: Authenticate, responses: StoredResponses) -> list[Route]:
    """Build the routes of one worker."""

    def answering(act: _Act) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                caller = await authenticate(dict(request.headers.raw))
                _check_query(request)
                body = await act(caller, request.path_params["response_id"])
            except BackstayError as error:
                status, headers, body = RESPONSES.write_error(error)
                return Response(body, status, headers, media_type="application/json")
            return Response(body, media_type="application/json")

        return answer

    path = "/v1/responses/{response_id}"
    return [
        Route(path, answering(responses.show), methods=["GET"]),
        Route(path, answering(responses.delete), methods=["DELETE"]),
    ]


def _check_query(request: Request) -> None:
    """Refuse by name what is not done here: a kept response is shown whole, not streamed again."""
    for name, value in request.query_params.multi_items():
        if name not in ("include", "include[]") or value not in _ALWAYS_THERE:
            raise InvalidRequest(f"{name}={value} is not possible for a response that is kept.", param=name)
