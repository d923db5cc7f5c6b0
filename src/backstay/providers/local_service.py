"""Owns what the local models' child process answers: its routes, its models' loading, and the way to the engine."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
from aiohttp import web

from backstay.core.chat import ChatRequest, Tool
from backstay.core.errors import BackstayError, InvalidRequest, ProviderError, ProviderUnreachable, Unauthenticated
from backstay.providers import local_chat
from backstay.providers.embedding_wire import read_embeddings_request, write_embeddings_response
from backstay.providers.local_embedder import DIMENSIONS, Embedder
from backstay.providers.local_engine import Engine
from backstay.providers.local_types import (
    CHAT_MODEL,
    EMBEDDING_MODEL,
    Notice,
    chat_weights,
    embedding_tokenizer,
    embedding_weights,
)
from backstay.providers.openai import OPENAI
from backstay.providers.sse import FrameSplitter
from backstay.providers.types import Fields

MAX_BODY_BYTES = 16 * 1024 * 1024

_ENGINE_URL = "http://engine/v1/chat/completions"
_JSON = {"content-type": "application/json"}
_EVENT_STREAM = {"content-type": "text/event-stream", "cache-control": "no-cache"}

T = TypeVar("T")


class _EngineError(msgspec.Struct):
    message: str
    type: str


class _EngineAnswer(msgspec.Struct):
    error: _EngineError


class LocalService:
    """Both models behind OpenAI's wire. A call that comes while its model still loads waits for it."""

    def __init__(self, *, key: str, scratch: Path, threads: int, tell: Callable[[Notice], None]):
        """Begin to load both models, each in a thread. ``scratch``: a private folder for the engine's socket."""
        self._key = f"Bearer {key}".encode()
        self._socket = scratch / "llama.sock"
        self._threads = threads
        self._tell = tell
        self._states: dict[str, Notice] = {}
        self._engine = asyncio.create_task(self._load(CHAT_MODEL, self._load_engine))
        self._embedder = asyncio.create_task(self._load(EMBEDDING_MODEL, self._load_embedder))
        # The engine closes a connection after a stream, without saying so beforehand: none is used twice.
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        return app

    async def close(self) -> None:
        """Stop the engine. Waits for models that are still loading."""
        await self._session.close()
        engine = await self._engine
        await self._embedder
        if isinstance(engine, Engine):
            engine.close()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Check the key, and turn errors into OpenAI's shape."""
        try:
            sent = request.headers.get("authorization", "").encode()
            if request.path != "/health" and not hmac.compare_digest(sent, self._key):
                raise Unauthenticated("Send the key of the local models, BACKSTAY_LOCAL_KEY.")
            return await handler(request)
        except BackstayError as error:
            return _error(error)
        except web.HTTPException as error:
            return _error(ProviderError(error.reason, status=error.status, kind="invalid_request"))

    async def _health(self, _: web.Request) -> web.Response:
        """200 once no model is loading any more; a model that could not be loaded says why."""
        loading = any(notice.state == "loading" for notice in self._states.values())
        states = {name: notice.detail or notice.state for name, notice in self._states.items()}
        body = msgspec.json.encode({"status": "loading" if loading else "ok", "models": states})
        return web.Response(status=503 if loading else 200, body=body, headers=_JSON)

    async def _models(self, _: web.Request) -> web.Response:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "backstay"} for name in self._states]
        return web.Response(body=msgspec.json.encode({"object": "list", "data": models}), headers=_JSON)

    async def _embeddings(self, request: web.Request) -> web.Response:
        wanted = read_embeddings_request(await request.read())
        if wanted.dimensions not in (None, DIMENSIONS):
            raise InvalidRequest(f"{EMBEDDING_MODEL} has {DIMENSIONS} dimensions, no others.", param="dimensions")
        texts = [item for item in wanted.inputs() if isinstance(item, str)]
        if len(texts) < len(wanted.inputs()):
            raise InvalidRequest(f"{EMBEDDING_MODEL} takes texts: send input as text, not token ids.", param="input")
        embedder = await _loaded(self._embedder)
        embedded = await asyncio.to_thread(embedder.embed, texts)
        rows = [row.tobytes() for row in embedded.vectors]
        return web.Response(body=write_embeddings_response(rows, wanted, tokens=embedded.tokens), headers=_JSON)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        fields = _fields(await request.read())
        chat = OPENAI.read_request(fields)
        local_chat.check(chat)
        await _loaded(self._engine)
        tool = await self._tool(chat)
        async with self._ask(local_chat.engine_request(fields, chat, tool)) as answer:
            await _check(answer)
            if chat.stream:
                return await _pass_stream(request, chat, tool, answer)
            whole = OPENAI.read_response(await answer.read())
        return web.Response(body=OPENAI.write_response(local_chat.shape_response(whole, tool)), headers=_JSON)

    async def _tool(self, chat: ChatRequest) -> Tool | None:
        """Find the tool that must be called; where there is a choice, ask the model."""
        tools = local_chat.forced_tools(chat)
        if len(tools) < 2:
            return tools[0] if tools else None
        async with self._ask(local_chat.selection_request(chat, tools)) as answer:
            await _check(answer)
            return local_chat.selected_tool(OPENAI.read_response(await answer.read()), tools)

    def _ask(self, body: bytes):
        return self._session.post(_ENGINE_URL, data=body, headers=_JSON)

    async def _load(self, name: str, load: Callable[[], T]) -> T | str:
        """Load a model in a thread. Returns a sentence where that failed."""
        self._note(Notice(state="loading", model=name))
        began = time.monotonic()
        try:
            model = await asyncio.to_thread(load)
        except Exception as error:  # noqa: BLE001 - native libraries raise anything; the model's state tells it
            self._note(Notice(state="failed", model=name, detail=str(error)))
            return str(error)
        self._note(Notice(state="ready", model=name, seconds=round(time.monotonic() - began, 3)))
        return model

    def _note(self, notice: Notice) -> None:
        self._states[notice.model] = notice
        self._tell(notice)

    def _load_engine(self) -> Engine:
        return Engine(chat_weights(), self._socket, threads=self._threads)

    def _load_embedder(self) -> Embedder:
        return Embedder(embedding_weights(), embedding_tokenizer(), threads=self._threads)


async def _loaded(model: asyncio.Task[T | str]) -> T:
    loaded = await asyncio.shield(model)
    if isinstance(loaded, str):
        raise ProviderError(loaded, status=503)
    return loaded


async def _pass_stream(
    request: web.Request, chat: ChatRequest, tool: Tool | None, answer: aiohttp.ClientResponse
) -> web.StreamResponse:
    response = web.StreamResponse(headers=_EVENT_STREAM)
    await response.prepare(request)
    reader, writer, splitter = OPENAI.stream_reader(), OPENAI.stream_writer(chat), FrameSplitter()
    shaper = local_chat.EventShaper(tool)
    try:
        async for chunk in answer.content.iter_any():
            events = (event for frame in splitter.feed(chunk) for event in reader.read(frame))
            await response.write(b"".join(writer.write(new) for event in events for new in shaper.shape(event)))
        await response.write(writer.end() if reader.finished else OPENAI.write_stream_error(ProviderUnreachable()))
    except aiohttp.ClientPayloadError:
        await response.write(OPENAI.write_stream_error(ProviderUnreachable()))
    await response.write_eof()
    return response


async def _check(answer: aiohttp.ClientResponse) -> None:
    """Raise the engine's error: ``{"error": {"message", "type", "code": <status>}}``."""
    if answer.status == 200:
        return
    error = msgspec.json.decode(await answer.read(), type=_EngineAnswer).error
    if error.type == "exceed_context_size_error":
        raise ProviderError(
            error.message, status=400, kind="context_length", provider_code="context_length_exceeded", param="messages"
        )
    raise InvalidRequest(error.message) if answer.status == 400 else ProviderError(error.message, status=answer.status)


def _fields(body: bytes) -> Fields:
    try:
        return msgspec.json.decode(body, type=Fields)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from error


def _error(error: BackstayError) -> web.Response:
    status, headers, body = OPENAI.write_error(error)
    return web.Response(status=status, body=body, headers=_JSON | headers)
