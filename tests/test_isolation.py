"""Tests of what must never be seen: other tenants' rows, and secrets anywhere."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from serving import Server, serving

CANARY = "sk-canary-4f9d2c71b0e8aa35"

POLICY = """
[providers.leaky]
dialect = "openai"
base_url = "{url}/v1"
api_key = "env:LEAKY_KEY"
headers = {{ "x-team" = "env:LEAKY_KEY" }}

[models.leaky]
targets = ["leaky/gpt-4o-mini"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("isolation")) as server:
        yield server


@pytest.fixture
async def leaky_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server whose provider says its caller's key back in every error, as some do."""

    async def echo(request: web.Request) -> web.Response:
        key = request.headers["authorization"].removeprefix("Bearer ")
        message = f"Incorrect API key provided: {key} ({request.headers['x-team']})"
        return web.json_response({"error": {"message": message, "type": "x", "code": key}}, status=401)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    (tmp_path / "backstay.toml").write_text(POLICY.format(url=f"http://127.0.0.1:{port}"))
    started = await asyncio.to_thread(_enter, tmp_path)
    context, server = started
    try:
        yield server
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
        await runner.cleanup()


def _enter(folder: Path) -> tuple[Any, Server]:
    context = serving(folder, BACKSTAY_LOG_LEVEL="debug", LEAKY_KEY=CANARY)
    return context, context.__enter__()


async def fetch(server: Server, key: str, path: str, **more: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.request(more.pop("method", "GET"), server.url + path, **more) as answer:
            return answer.status, json.loads(await answer.read())


async def chat(server: Server, key: str, model: str, text: str) -> tuple[int, Any]:
    body = {"model": model, "user": "u-1", "messages": [{"role": "user", "content": text}]}
    return await fetch(server, key, "/v1/chat/completions", method="POST", json=body)


async def settled(server: Server, key: str, calls: int) -> list[dict[str, Any]]:
    """Wait until so many calls of a key are in the books."""
    for _ in range(100):
        _, page = await fetch(server, key, "/v1/traces")
        if len(page["traces"]) == calls:
            return page["traces"]
        await asyncio.sleep(0.1)
    raise AssertionError(f"no {calls} calls in the books")


async def test_a_tenant_sees_nothing_of_another(server: Server):
    """Whatever a key asks for, with whatever filter, not one row of another tenant is in the answer."""
    ours = server.ask("keys", "create", "--name", "ours", "--tenant", "acme")
    rival = server.ask("keys", "create", "--name", "rival", "--tenant", "rival", "--rights", "call,read,admin")
    await chat(server, ours["key"], "sim", "our recipe")
    (call,) = await settled(server, ours["key"], 1)
    assert (await fetch(server, ours["key"], f"/v1/traces/{call['trace_id']}"))[0] == 200
    for path in (f"/v1/traces/{call['trace_id']}", f"/v1/traces/{call['trace_id'][:8]}"):
        assert (await fetch(server, rival["key"], path))[0] == 404
    for query in ("", "?user=u-1", "?model=sim", "?status=ok", "?q=recipe", f"?q={call['trace_id']}",
                  f"?key={ours['id']}", "?since=7d", "?limit=200"):  # fmt: skip
        status, page = await fetch(server, rival["key"], f"/v1/traces{query}")
        assert (status, page["traces"]) == (200, []), query
    for by in ("user", "feature", "model", "key", "target", "user,feature,model"):
        status, report = await fetch(server, rival["key"], f"/v1/costs?by={by}")
        assert (status, report["rows"]) == (200, []), by
    for path in ("requests", "waste", "savings", "what-if?model=sim", "invoice?month=2026-11"):
        status, report = await fetch(server, rival["key"], f"/v1/costs/{path}")
        assert status == 200 and call["trace_id"] not in json.dumps(report), path
        figures = [report.get(name) for name in ("answered_calls", "read_calls", "attempts", "due_usd")]
        assert [one for one in figures if one not in (None, 0, "0.00")] == [], path
    _, keys = await fetch(server, rival["key"], "/v1/keys")
    assert [key["id"] for key in keys["keys"]] == [rival["id"]]
    for act in ("revoke", "rotate"):
        assert (await fetch(server, rival["key"], f"/v1/keys/{ours['id']}/{act}", method="POST"))[0] == 404
    for path in ("/v1/people", "/v1/audit"):
        _, answer = await fetch(server, rival["key"], path)
        assert ours["id"] not in json.dumps(answer)


async def test_a_key_that_picks_a_tenant_stays_in_its_own(server: Server):
    """The header with which the operator picks a tenant does nothing for a key."""
    ours = server.ask("keys", "create", "--name", "ours", "--tenant", "one")
    rival = server.ask("keys", "create", "--name", "rival", "--tenant", "two", "--rights", "call,read,admin")
    await chat(server, ours["key"], "sim", "hello")
    await settled(server, ours["key"], 1)
    status, page = await fetch(server, rival["key"], "/v1/traces", headers={"x-backstay-tenant": "one"})
    assert (status, page["traces"]) == (200, [])


async def test_a_key_that_may_only_read_sees_its_own_calls(server: Server):
    """Two keys of one tenant: without the right ``admin``, each sees what it did itself."""
    first = server.ask("keys", "create", "--name", "first", "--tenant", "shared")
    second = server.ask("keys", "create", "--name", "second", "--tenant", "shared")
    await chat(server, first["key"], "sim", "mine")
    (call,) = await settled(server, first["key"], 1)
    assert (await fetch(server, second["key"], "/v1/traces"))[1]["traces"] == []
    assert (await fetch(server, second["key"], f"/v1/traces/{call['trace_id']}"))[0] == 404
    assert (await fetch(server, second["key"], "/v1/costs?by=user"))[1]["rows"] == []
    assert (await fetch(server, second["key"], "/v1/keys"))[0] == 403


async def test_no_secret_is_anywhere(leaky_server: Server):
    """A provider's key that is said back, and a virtual key: not in answers, logs, traces, pages or files."""
    server = leaky_server
    key: str = server.ask("keys", "create", "--name", "careful")["key"]
    secret = key.rpartition("_")[2]
    status, answer = await chat(server, key, "leaky", "hello")
    assert status == 401 and "Incorrect API key provided" in answer["error"]["message"]
    (call,) = await settled(server, key, 1)
    seen = [json.dumps(answer), json.dumps(call)]
    seen.append(json.dumps((await fetch(server, key, f"/v1/traces/{call['trace_id']}"))[1]))
    async with aiohttp.ClientSession() as session:
        for path in ("/metrics", "/readyz", "/openapi.json", "/login"):
            async with session.get(server.url + path) as page:
                seen.append(await page.text())
    seen.append(server.run("models", "--json").stdout + server.run("traces", "show", call["trace_id"]).stdout)
    seen.append((server.folder / "server.log").read_text())
    for text in seen:
        assert CANARY not in text and secret not in text
    for file in _files(server.data_dir):
        content = file.read_bytes()
        assert CANARY.encode() not in content and secret.encode() not in content, file


def _files(folder: Path) -> Iterator[Path]:
    """Every file of the data folder: journal, database, notes."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if (path := Path(parent, name)).is_file():
                yield path
