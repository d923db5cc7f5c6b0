"""Tests of what must never be seen: other tenants' rows, and secrets anywhere."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
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


WIRE_ROUTES = [
    ("get", "/v1/responses/{id}"),
    ("delete", "/v1/responses/{id}"),
    ("get", "/v1/files/{id}"),
    ("get", "/v1/files/{id}/content"),
    ("delete", "/v1/files/{id}"),
    ("get", "/v1/batches/{id}"),
    ("post", "/v1/batches/{id}/cancel"),
    ("get", "/v1/async/{id}"),
]
"""What takes an id and is not in Backstay's own document."""


async def test_no_id_of_another_tenant_opens_anything(server: Server):
    """Every route that takes an id refuses every id of somebody else, and nothing of theirs has changed after."""
    ours = server.ask("keys", "create", "--name", "ours", "--tenant", "owner", "--rights", "call,read,admin")
    rival = server.ask("keys", "create", "--name", "rival", "--tenant", "thief", "--rights", "call,read,admin")
    ids = await make_one_of_each(server, ours)
    async with aiohttp.ClientSession() as session, session.get(server.url + "/openapi.json") as answer:
        document: Any = await answer.json()
    routes = [(method, path) for path, methods in document["paths"].items() if "{" in path for method in methods]
    assert len(routes) > 10
    for method, path in {*routes, *WIRE_ROUTES}:
        for kind, known in ids.items():
            place = re.sub(r"\{\w+\}", known, path)
            json_body: Any = {} if method == "post" else None
            status, answered = await fetch(server, rival["key"], place, method=method.upper(), json=json_body)
            assert status in (400, 403, 404), (method, place, kind, status, answered)
            assert "our secret" not in json.dumps(answered), (method, place)
    _, keys = await fetch(server, ours["key"], "/v1/keys")
    assert [(key["id"], key["status"]) for key in keys["keys"]] == [(ours["id"], "live")]
    _, budgets = await fetch(server, ours["key"], "/v1/budgets")
    assert [(budget["id"], budget["state"]) for budget in budgets["budgets"]] == [(ids["budget"], "active")]
    _, people = await fetch(server, ours["key"], "/v1/people")
    assert [person["disabled_at"] for person in people["people"] if person["id"] == ids["person"]] == [None]
    for path in (f"/v1/files/{ids['file']}", f"/v1/responses/{ids['response']}", f"/v1/batches/{ids['batch']}"):
        assert (await fetch(server, ours["key"], path))[0] == 200, path


async def make_one_of_each(server: Server, ours: dict[str, Any]) -> dict[str, str]:
    """Make one of each thing that has an id, as a tenant's admin."""
    key: str = ours["key"]
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key)
    async with client:
        response = await client.responses.create(model="sim", input="our secret")
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
                "body": {"model": "sim", "messages": [{"role": "user", "content": "our secret"}]}}  # fmt: skip
        file = await client.files.create(file=("lines.jsonl", json.dumps(line).encode()), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    later = {"x-backstay-async": "true"}
    _, call = await fetch(server, key, "/v1/chat/completions", method="POST", json=line["body"], headers=later)
    _, budget = await fetch(server, key, "/v1/budgets", method="POST", json={"scope": [], "limit_usd": "5"})
    _, person = await fetch(
        server, key, "/v1/people", method="POST", json={"email": "a@owner.example", "role": "viewer"}
    )
    (trace,) = await settled(server, key, 1)
    return {
        "key": ours["id"], "trace": trace["trace_id"], "call": trace["call_id"], "response": response.id,
        "file": file.id, "batch": batch.id, "async": call["id"], "budget": budget["id"],
        "person": person["person"]["id"],
    }  # fmt: skip


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
