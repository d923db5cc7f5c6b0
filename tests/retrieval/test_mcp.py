"""The tools over documents, called by the client of the official library ``mcp`` over both of its transports."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from wires_house import OFFICE, SECRET

from serving import BACKSTAY, Server

Way = Literal["http", "stdio"]
WAYS = pytest.mark.parametrize("way", ["http", "stdio"])


@asynccontextmanager
async def connected(
    way: Way, server: Server, key: str, principals: str | None = None, mode: str = "auto"
) -> AsyncGenerator[Client]:
    """Connect a client to the server."""
    if way == "stdio":
        named = ["--principal", principals] if principals else []
        environment = {**server.environment, "BACKSTAY_TOKEN": key}
        parameters = StdioServerParameters(command=BACKSTAY, args=["mcp", *named], env=environment)
        async with Client(parameters, mode=mode) as client:
            yield client
        return
    headers = {"authorization": f"Bearer {key}", **({"x-backstay-principals": principals} if principals else {})}
    async with httpx2.AsyncClient(headers=headers) as http:
        async with Client(streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client:
            yield client


def told(result: CallToolResult) -> Any:
    """Return what a tool gave, which its text says too."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    if result.is_error:
        return content.text
    assert json.loads(content.text) == result.structured_content
    return result.structured_content


@WAYS
async def test_an_agent_lists_and_calls_the_tools(wires: Server, wires_key: str, way: Way) -> None:
    """Collections, passages, and an answer whose sentences are checked."""
    async with connected(way, wires, wires_key) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["list_collections", "search", "answer"]
        assert all("principals" not in tool.input_schema["properties"] for tool in tools)
        collections = told(await client.call_tool("list_collections", {}))["collections"]
        assert "handbook" in [each["name"] for each in collections]
        asked = {"collection": "handbook", "query": "When does the office open?", "limit": 1}
        (found,) = told(await client.call_tool("search", asked))["results"]
        assert (found["external_id"], found["text"]) == ("office.txt", OFFICE)
        asked = {"collection": "handbook", "question": "When does the office open?"}
        answer = told(await client.call_tool("answer", asked))
        assert [each["supported"] for each in answer["sentences"]] == [False, True, False]


@WAYS
async def test_whoever_runs_or_reaches_the_server_says_for_whom_it_searches(
    wires: Server, wires_key: str, way: Way
) -> None:
    """The model cannot: principals are no argument of a tool."""
    asked: dict[str, Any] = {"collection": "handbook", "query": "secret door"}
    async with connected(way, wires, wires_key, principals="user:ada") as client:
        assert told(await client.call_tool("search", asked))["results"][0]["text"] == SECRET
        forged = await client.call_tool("search", {**asked, "principals": ["user:bob"]})
        assert forged.is_error and "principals" in told(forged)
    async with connected("http", wires, wires_key) as client:
        found = told(await client.call_tool("search", asked))["results"]
        assert all(SECRET not in each["text"] for each in found)


async def test_what_is_wrong_is_told_to_the_model(wires: Server, wires_key: str) -> None:
    """As a result that is an error, in the sentence that anybody gets."""
    async with connected("http", wires, wires_key) as client:
        for tool, arguments, words in [
            ("search", {"collection": "handbook", "query": ""}, "query"),
            ("search", {"collection": "nothing", "query": "x"}, "no collection nothing"),
            ("answer", {"collection": "handbook"}, "question"),
            ("delete", {"collection": "handbook"}, "no tool 'delete'"),
        ]:
            result = await client.call_tool(tool, arguments)
            assert result.is_error and words in told(result)


async def test_older_clients_are_answered_without_a_session(wires: Server, wires_key: str) -> None:
    """Those that begin by ``initialize``, whichever worker takes the next request."""
    async with connected("http", wires, wires_key, mode="legacy") as client:
        assert len((await client.list_tools()).tools) == 3
        assert not (await client.call_tool("list_collections", {})).is_error


@pytest.mark.parametrize(
    ("method", "key", "status"), [("POST", "bs_wrong", 401), ("POST", None, 401), ("GET", "", 405)]
)
def test_who_has_no_key_is_not_let_in(
    wires: Server, wires_key: str, method: str, key: str | None, status: int
) -> None:  # fmt: skip
    """Before anything of the request is looked at; there is no stream to listen to."""
    headers = {} if key is None else {"authorization": f"Bearer {key or wires_key}"}
    request = urllib.request.Request(f"{wires.url}/mcp", b"{}" if method == "POST" else None, headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as error:
        assert (error.code, json.load(error)["status"]) == (status, status)


def test_the_library_is_loaded_only_by_who_needs_it() -> None:
    """Neither help nor the module of a worker's composition loads it."""
    code = "import sys, backstay.app, backstay.cli.main; print([name for name in sys.modules if name[:4] == 'mcp.'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
