"""Owns ``/mcp``: the tools over documents on MCP's streamable HTTP, without sessions, so that any worker may answer.

Source: Model Context Protocol, "Transports", Streamable HTTP (2025-11-25): a server that opens no stream of its own
answers GET with 405, and one without sessions answers DELETE so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from backstay.access.checks import convert
from backstay.api.auth import Authenticate
from backstay.api.mcp_server import TOOLS, AnswerArguments, Library, SearchArguments
from backstay.api.on_behalf import on_behalf
from backstay.api.principals import read_principals
from backstay.api.problems import http_problem_response, problem_response
from backstay.api.retrieval import CollectionList, RetrievalDeps, SearchResults
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, Forbidden, InvalidRequest
from backstay.retrieval import Query
from backstay.retrieval.filters import read_filter

PATH = "/mcp"
_MOST_BYTES = 1024 * 1024
_CALLER = "backstay.caller"


class McpDoor:
    """Answers ``/mcp`` as an ASGI application. The library is loaded when the first request comes."""

    def __init__(self, deps: RetrievalDeps, authenticate: Authenticate):
        self._deps = deps
        self._authenticate = authenticate
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._manager: Any = None
        self._problem: BackstayError | None = None

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._wanted.wait()
        try:
            library = await asyncio.to_thread(Library)
        except BackstayError as problem:
            self._problem = problem
            self._ready.set()
            await asyncio.Event().wait()
            return
        manager = library.http.StreamableHTTPSessionManager(
            library.build(self._call), json_response=True, stateless=True, max_request_body_size=_MOST_BYTES
        )
        async with manager.run():
            self._manager = manager
            self._ready.set()
            await asyncio.Event().wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if request.method != "POST":
                raise HTTPException(405, f"{PATH} is called with POST.", {"allow": "POST"})
            caller = await self._authenticate(dict(request.headers.raw))
            if not caller.may("call"):
                raise Forbidden("This needs the right `call`, which this key does not have.")
            self._wanted.set()
            await self._ready.wait()
            if self._problem is not None:
                raise self._problem
        except BackstayError as error:
            await problem_response(error)(scope, receive, send)
        except HTTPException as error:
            await http_problem_response(error)(scope, receive, send)
        else:
            scope[_CALLER] = caller
            await self._manager.handle_request(scope, receive, send)

    async def _call(self, name: str, arguments: dict[str, Any], request: Any) -> Any:
        caller: Caller = request.scope[_CALLER]
        headers: Mapping[bytes, bytes] = dict(request.headers.raw)
        principals = read_principals(caller, headers)
        if name == "list_collections":
            if not caller.may("read"):
                raise Forbidden("This needs the right `read`, which this key does not have.")
            return CollectionList(collections=await self._deps.listed(caller, principals))
        if name == "search":
            told = convert(arguments, SearchArguments)
            conditions = read_filter(told.filter)
            query = Query(text=told.query, limit=told.limit, filter=conditions, principals=principals)
            return SearchResults(
                results=await self._deps.ranked.find(on_behalf(caller, headers), told.collection, query)
            )
        if name == "answer":
            asked = convert(arguments, AnswerArguments)
            query = Query(text=asked.question, principals=principals)
            return await self._deps.answers.give(on_behalf(caller, headers), asked.collection, query)
        raise InvalidRequest(f"There is no tool {name!r}. There are {', '.join(tool.name for tool in TOOLS)}.")
