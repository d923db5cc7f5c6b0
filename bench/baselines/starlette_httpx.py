"""Owns the baseline that most home-made gateways look like: a Starlette route that sends on with httpx."""

import os

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_HEADERS = {"content-type": "application/json", "authorization": "Bearer upstream-key"}


class Passthrough:
    """Sends each request to the same path of the upstream."""

    def __init__(self, upstream: str):
        self._upstream = upstream
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None), timeout=60
        )

    async def answer(self, request: Request) -> Response:
        outgoing = self._client.build_request(
            "POST", self._upstream + request.url.path, content=await request.body(), headers=_HEADERS
        )
        answer = await self._client.send(outgoing, stream=True)
        kind = answer.headers["content-type"]
        if kind.startswith("text/event-stream"):
            return StreamingResponse(answer.aiter_raw(), answer.status_code, media_type=kind)
        return Response(await answer.aread(), answer.status_code, media_type=kind)


app = Starlette(
    routes=[Route("/{path:path}", Passthrough(os.environ["BENCH_UPSTREAM"]).answer, methods=["POST"])],
)
