"""Owns what machines ask of a worker: is it alive, is it ready, what are its figures."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a worker needs. Without what is ``essential`` it takes no calls; without the rest it goes on."""

    name: str
    probe: Callable[[], Awaitable[str | None]]
    """Returns ``None`` when all is well, else a sentence that says what is not."""
    essential: bool = False


def routes(checks: Sequence[Check], render_metrics: Callable[[], bytes]) -> list[Route]:
    """Build ``/healthz`` (this process answers), ``/readyz`` (it can do its work) and ``/metrics`` (Prometheus).

    ``/readyz`` answers 503 only where calls could not be taken: Postgres being away delays the books and stops no call,
    so it must not take every worker out of a load balancer at once. It is told as ``degraded``, with 200.
    """

    async def healthz(request: Request) -> Response:
        return _json(200, {"status": "ok"})

    async def readyz(request: Request) -> Response:
        problems = {check.name: await check.probe() for check in checks}
        failed = [check for check in checks if problems[check.name] is not None]
        is_ready = not any(check.essential for check in failed)
        status = "not ready" if not is_ready else "degraded" if failed else "ready"
        details = {name: problem or "ok" for name, problem in problems.items()}
        return _json(200 if is_ready else 503, {"status": status, "checks": details})

    async def metrics(request: Request) -> Response:
        return Response(render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def _json(status: int, body: Mapping[str, object]) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
