"""Owns responses whose tool is ``file_search``: an answer from a vector store, in the shape of OpenAI's SDK.

The search is made once, before the model is asked, whatever its name: one that knows no tools searches too. Source:
OpenAI's OpenAPI document, FileSearchTool, FileSearchToolCall and FileCitationBody (2026-08).
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from backstay.api.answer_stream import begin
from backstay.api.document_answers import SSE, refuse, reply_whole, require_wire, trace_headers
from backstay.api.file_search_request import PATH, read_file_search
from backstay.api.file_search_writer import FileSearchWriter
from backstay.api.on_behalf import on_behalf
from backstay.api.principals import read_principals
from backstay.api.retrieval import RetrievalDeps
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, NotFound, StoreUnavailable
from backstay.gateway import Headers, Sink
from backstay.providers import RESPONSES
from backstay.retrieval.streaming import Event
from backstay.retrieval.types import Found


class _Tool(msgspec.Struct):
    type: str = ""
    vector_store_ids: list[str] = []


class _Tools(msgspec.Struct):
    tools: list[_Tool] | None = None


class FileSearches:
    """Answers those responses that search a vector store which is a collection here."""

    def __init__(self, deps: RetrievalDeps):
        self._deps = deps

    async def is_ours(self, body: bytes, caller: Caller) -> bool:
        """Say whether a request searches a collection of the caller's tenant; any other is its provider's matter."""
        try:
            tools = msgspec.json.decode(body, type=_Tools).tools or ()
        except msgspec.DecodeError:
            return False
        named = [store_id for tool in tools if tool.type == "file_search" for store_id in tool.vector_store_ids]
        if not named:
            return False
        try:
            await self._deps.vector_stores.find(caller, named[0], ())
        except (NotFound, StoreUnavailable):
            return False
        return True

    async def answer(self, caller: Caller, headers: Mapping[bytes, bytes], body: bytes, sink: Sink) -> None:
        """Answer one request. Every error is in OpenAI's shape."""
        try:
            require_wire(caller, PATH)
            asked = read_file_search(body)
            query = asked.search.query(asked.question, read_principals(caller, headers))
            acting = await self._acting(on_behalf(caller, headers), asked.store_id)
            found = await self._deps.search.find(acting, asked.store_id, query)
            about = await self._about(acting, asked.store_id, found, query.principals)
            events = self._deps.streams.give(acting, asked.store_id, query, asked.turns, asked.manner)
            first, rest = await begin(events)
        except BackstayError as error:
            await refuse(RESPONSES, error, sink)
            return
        writer = FileSearchWriter(asked, found, about, created_s=int(time.time()))
        head = trace_headers(acting, first)
        async with aclosing(rest):
            if asked.stream:
                await _stream(writer, head, first, rest, sink)
            else:
                await reply_whole(RESPONSES, writer.response, head, first, rest, sink)

    async def _acting(self, caller: Caller, store_id: str) -> Caller:
        """Let the caller use the collection's models of search beside the models that it may use."""
        if caller.models is None:
            return msgspec.structs.replace(caller, routes=None)
        collection = await self._deps.collections.show(caller.tenant_id, store_id, ())
        models = caller.models | collection.models
        return msgspec.structs.replace(caller, routes=None, models=models)

    async def _about(
        self, caller: Caller, store_id: str, found: Sequence[Found], principals: Sequence[str]
    ) -> dict[str, tuple[str, dict[str, Any]]]:
        external_ids = list({each.external_id for each in found})
        return await self._deps.vector_stores.about(caller, store_id, external_ids, principals)


async def _stream(
    writer: FileSearchWriter, head: Headers, first: Event, rest: AsyncGenerator[Event], sink: Sink
) -> None:  # fmt: skip
    await sink.begin(200, [*SSE, *head])
    try:
        await sink.write(writer.opening())
        for frame in writer.frames(first):
            await sink.write(frame)
        async for event in rest:
            for frame in writer.frames(event):
                await sink.write(frame)
    except BackstayError as error:
        await sink.write(writer.failure(error), end=True)
        return
    await sink.write(b"", end=True)
