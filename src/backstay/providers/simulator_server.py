"""Owns the simulator as an HTTP server: each dialect's wire on real sockets, which really break.

It takes any key. ``/_simulator/`` changes and shows the simulation while it runs, for callers on the same machine:
``GET`` and ``PUT script`` (JSON), ``GET stats``, ``POST reset``.
"""

import asyncio
import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from backstay.core.errors import BackstayError, ConfigError, Forbidden, InvalidRequest, NotFound, RequestTooLarge
from backstay.providers.anthropic import ANTHROPIC
from backstay.providers.bedrock import BEDROCK
from backstay.providers.gemini import GEMINI
from backstay.providers.openai import OPENAI
from backstay.providers.responses import RESPONSES
from backstay.providers.simulator.performance import Ending, Performance
from backstay.providers.simulator.provider import Pace
from backstay.providers.simulator.script import Script, read_script
from backstay.providers.simulator.simulation import Simulation, address
from backstay.providers.types import Dialect, Fields, Operation

MAX_BODY_BYTES = 64 * 1024 * 1024

_JSON = {"content-type": "application/json"}

_OPERATIONS: Mapping[str, tuple[Dialect, Operation]] = {
    "/v1/chat/completions": (OPENAI, "chat"),
    "/v1/embeddings": (OPENAI, "embeddings"),
    "/v1/rerank": (OPENAI, "rerank"),
    "/v2/rerank": (OPENAI, "rerank"),
    "/v1/responses": (RESPONSES, "chat"),
    "/v1/messages": (ANTHROPIC, "chat"),
    "/v1/messages/count_tokens": (ANTHROPIC, "count_tokens"),
}

_RESPONSE = "/v1/responses/"

_GEMINI_OPERATIONS: Mapping[str, tuple[Operation, bool]] = {
    "generateContent": ("chat", False),
    "streamGenerateContent": ("chat", True),
    "embedContent": ("embeddings", False),
    "batchEmbedContents": ("embeddings", False),
    "countTokens": ("count_tokens", False),
}
"""By method, the operation and whether it streams: Gemini's URLs are ``/v1beta/models/{model}:{method}``."""

_GEMINI_PATH = re.compile(r"/v1(?:beta1?|alpha)?/(?:.+/)?models/(?P<model>[^/:]+):(?P<method>\w+)")
_BEDROCK_PATH = re.compile(r"/model/(?P<model>[^/]+)/converse(?P<stream>-stream)?")

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""``SO_LINGER`` on, for 0 s: closing sends RST instead of FIN."""


async def serve_simulator(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    script: Mapping[str, Any] | Script | None = None,
    seed: int = 0,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until cancelled. ``on_ready`` gets the URL, without a path.

    Raises:
        ConfigError: The script is not valid, or the port cannot be listened on.
    """
    server = SimulatorServer(Simulation(script, seed=seed))
    on_ready(await server.start(host, port))
    try:
        await asyncio.Event().wait()
    finally:
        await server.stop()


class SimulatorServer:
    """One listening simulation."""

    def __init__(self, simulation: Simulation):
        self.simulation = simulation
        self._controls: Mapping[str, Callable[[bytes], bytes]] = {
            "GET /_simulator/script": self._show_script,
            "PUT /_simulator/script": self._change_script,
            "GET /_simulator/stats": self._show_stats,
            "POST /_simulator/reset": self._reset,
        }

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and return the URL. Port 0 takes a free one. Raises ``ConfigError`` where that is not possible."""
        self._http = web.Server(
            self._answer,
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=75,
        )
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._http, host, port, backlog=1024)
        except OSError as error:
            raise ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error
        bound = self._listener.sockets[0].getsockname()
        return f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """Close every connection at once, the hanging ones too."""
        self._listener.close()
        await self._http.shutdown(timeout=0.1)
        await self._listener.wait_closed()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        known = _find(request) if request.method == "POST" else None
        dialect = known[0] if known else _dialect_of(request)
        try:
            body = await request.read()
            if known is None:
                response_id = request.path.removeprefix(_RESPONSE)
                if request.path.startswith(_RESPONSE) and request.method in ("GET", "DELETE"):
                    return await _perform(self.simulation.manage_response(request.method, response_id), request)
                return self._aside(request, body)
        except web.HTTPRequestEntityTooLarge:
            return _error(RequestTooLarge(f"The simulator takes bodies up to {MAX_BODY_BYTES} bytes."), dialect)
        except BackstayError as error:
            return _error(error, dialect)
        call, operation, addressed = known
        return await _perform(self.simulation.perform(call, operation, body, addressed), request)

    def _aside(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answer what is no call of a model."""
        key = f"{request.method} {request.path}"
        if key in ("GET /v1/models", "GET /v1beta/models"):
            return web.Response(body=self._list_models(_dialect_of(request)), headers=_JSON)
        control = self._controls.get(key)
        if control is None:
            raise NotFound(f"The simulator has no {key}. It has: {', '.join([*_OPERATIONS, *self._controls])}.")
        if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:
            raise Forbidden("The simulator's controls are for callers on the same machine.")
        return web.Response(body=control(body), headers=_JSON)

    def _list_models(self, dialect: Dialect) -> bytes:
        names = ["sim", *self.simulation.script.models]
        if dialect is OPENAI:
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "backstay"} for name in names]
            return msgspec.json.encode({"object": "list", "data": models})
        if dialect is GEMINI:
            return msgspec.json.encode({"models": [{"name": f"models/{name}", "displayName": name} for name in names]})
        models = [
            {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in names
        ]
        page = {"data": models, "has_more": False, "first_id": names[0], "last_id": names[-1]}
        return msgspec.json.encode(page)

    def _show_script(self, _: bytes) -> bytes:
        return self.simulation.script.model_dump_json(exclude_unset=True, indent=2).encode()

    def _change_script(self, body: bytes) -> bytes:
        """Take another script. The schedule's time and the count of calls go on; ``reset`` starts them anew."""
        try:
            source = msgspec.json.decode(body, type=dict[str, Any])
            self.simulation.script = read_script(source)
        except (msgspec.DecodeError, ConfigError) as error:
            raise InvalidRequest(str(error)) from error
        return self._show_script(b"")

    def _show_stats(self, _: bytes) -> bytes:
        outcomes = self.simulation.outcomes
        return msgspec.json.encode(
            {"seed": self.simulation.seed, "calls": outcomes.total(), "outcomes": dict(sorted(outcomes.items()))}
        )

    def _reset(self, _: bytes) -> bytes:
        self.simulation.reset()
        return self._show_stats(b"")


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """Make a request with room for long prompts: aiohttp's own limit is 1 MiB."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)


def _find(request: web.BaseRequest) -> tuple[Dialect, Operation, Fields] | None:
    """Return the call that a path stands for, with the fields that the path has in it."""
    if request.path in _OPERATIONS:
        return (*_OPERATIONS[request.path], {})
    match = _BEDROCK_PATH.fullmatch(request.rel_url.raw_path)  # an ARN has slashes, which are encoded
    if match is not None:
        return BEDROCK, "chat", address(unquote(match["model"]), stream=match["stream"] is not None)
    match = _GEMINI_PATH.fullmatch(request.path)
    if match is None or match["method"] not in _GEMINI_OPERATIONS:
        return None
    operation, stream = _GEMINI_OPERATIONS[match["method"]]
    return GEMINI, operation, address(match["model"], stream=stream)


def _dialect_of(request: web.BaseRequest) -> Dialect:
    if "anthropic-version" in request.headers:
        return ANTHROPIC
    return GEMINI if "x-goog-api-key" in request.headers else OPENAI


def _error(error: BackstayError, dialect: Dialect) -> web.Response:
    status, headers, body = dialect.write_error(error)
    return web.Response(status=status, body=body, headers=_JSON | headers)


async def _perform(performance: Performance, request: web.BaseRequest) -> web.StreamResponse:
    pace = Pace()
    await pace.wait(performance.latency_s)
    if performance.status is None:
        await _end(performance.ending, request, abruptly=True)
        return web.Response()
    response = web.StreamResponse(status=performance.status, headers=performance.headers)
    await response.prepare(request)
    ready: list[bytes] = []
    for piece in performance.pieces:
        if piece.wait_s:
            await response.write(b"".join(ready))
            ready.clear()
            await pace.wait(piece.wait_s)
        ready.append(piece.data)
    await response.write(b"".join(ready))
    await _end(performance.ending, request, abruptly=False)
    return response


async def _end(ending: Ending, request: web.BaseRequest, *, abruptly: bool) -> None:
    """Break the connection, or stay silent until the other side closes it."""
    if ending == "hang":
        await asyncio.Event().wait()
    transport = request.transport
    if ending != "break" or transport is None:
        return
    if not abruptly:
        # What was written gets through; then the connection ends where more was promised.
        transport.close()
        return
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
