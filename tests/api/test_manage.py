"""Backstay's own API: who may see what, exact answers, and problems that say what to do."""

import asyncio
import datetime as dt
import json
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx
import msgspec
import pytest
from manage_parts import SECRET, TOKEN, manage_deps
from starlette.applications import Starlette

from backstay.access import KeyRing
from backstay.api.manage import routes
from backstay.api.problems import EXCEPTION_HANDLERS
from backstay.console import CatalogModel, CatalogTarget
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.money import NanoUSD
from backstay.ledger import MERGE_ENTRIES, CostLine, LedgerEntry
from backstay.store import Database
from backstay.tracing import MERGE_SPANS, Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
NOW_NS = int(dt.datetime.now(dt.UTC).timestamp()) * 1_000_000_000

Ship = Callable[..., Awaitable[None]]


@pytest.fixture
async def app(database: Database) -> AsyncIterator[Starlette]:
    clock = SystemClock()
    ring = KeyRing(database, SECRET, clock)
    await ring.start()

    async def catalog(caller: Caller) -> Sequence[CatalogModel]:
        target = CatalogTarget(name="acme/m", dialect="openai", prices={"input_mtok": "0.15"}, price_source="test")
        return [CatalogModel(name=f"fast of {caller.tenant_id}", targets=(target,))]

    deps = manage_deps(database, ring, catalog)
    yield Starlette(routes=routes(deps), exception_handlers=EXCEPTION_HANDLERS)
    await ring.stop()


@pytest.fixture
async def operator(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """The operator, at work on the tenant ``acme``."""
    async with as_holder(app, TOKEN) as client:
        client.headers["x-backstay-tenant"] = "acme"
        yield client


def as_holder(app: Starlette, credential: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)
    headers = {"authorization": f"Bearer {credential}"}
    return httpx.AsyncClient(transport=transport, base_url="http://backstay.test", headers=headers)


@pytest.fixture
def ship(database: Database) -> Ship:
    """Ship one call into the books, as the shipper does."""

    async def ship(
        spans: list[Span], entries: Sequence[LedgerEntry] = (), tenant_id: str = "acme", **texts: str
    ) -> None:
        document = msgspec.json.encode({"tenant_id": tenant_id, "spans": spans, "entries": entries}).decode()
        async with database.system() as connection:
            await connection.execute(
                "create temp table shipment (entry_id text, doc jsonb, input text, output text) on commit drop"
            )
            await connection.execute(
                "insert into shipment values ('1', %s, %s, %s)", [document, texts.get("input"), texts.get("output")]
            )
            for day in {dt.datetime.fromtimestamp(span.started_at_ns / 1e9, dt.UTC).date() for span in spans}:
                await connection.execute("select ensure_partitions(%s)", [day])
            for merge in (MERGE_SPANS, MERGE_ENTRIES):
                await connection.execute(merge)

    return ship


async def test_routes_are_shown_and_targets_drained(app: Starlette, database: Database) -> None:
    """The operator drains and puts back, whomever they act for; it is in the log of the installation's own tenant."""
    async with as_holder(app, TOKEN) as client:
        client.headers["x-backstay-tenant"] = "acme"
        drained = (await client.post("/v1/routes/acme/m/drain")).json()
        assert (drained["name"], drained["standing"], drained["drained"]["by"]) == ("acme/m", "drained", "operator")
        shown = (await client.get("/v1/routes")).json()
        assert [model["targets"] for model in shown["models"]] == [["acme/m"]]
        assert shown["targets"] == [drained]
        assert (await client.post("/v1/routes/acme%2Fm/undrain")).json()["standing"] == "unknown"
        assert (await client.post("/v1/routes/no/such/drain")).status_code == 404
        assert (await client.get("/v1/audit?subject=acme/m")).json()["records"] == []
        client.headers["x-backstay-tenant"] = "default"
        records = (await client.get("/v1/audit?subject=acme/m")).json()["records"]
        assert [(record["action"], record["actor"]) for record in records] == [
            ("target.undrain", "operator"), ("target.drain", "operator"),
        ]  # fmt: skip


async def test_only_the_installations_own_admins_drain(app: Starlette, database: Database) -> None:
    """An admin key of another tenant is refused, and sees how targets stand without how much others use."""
    async with as_holder(app, TOKEN) as client:
        keys: dict[str, str] = {}
        for tenant, right in (("acme", "admin"), ("default", "admin"), ("default", "read")):
            client.headers["x-backstay-tenant"] = tenant
            made = await client.post("/v1/keys", json={"name": "k", "rights": [right]})
            keys[f"{tenant} {right}"] = made.json()["key"]
    answers: dict[str, tuple[int, int | None]] = {}
    for name, key in keys.items():
        async with as_holder(app, key) as client:
            (target,) = (await client.get("/v1/routes")).json()["targets"]
            answers[name] = (await client.post("/v1/routes/acme/m/drain")).status_code, target["tries"]
    assert answers == {"acme admin": (403, None), "default admin": (200, 0), "default read": (403, None)}


def call_span(number: int = 1, **fields: Any) -> Span:
    """Make the root span of a call, one second younger than the one before it."""
    known: dict[str, Any] = {
        "span_id": f"{number:016x}",
        "trace_id": f"{number:032x}",
        "kind": "call",
        "name": "chat fast",
        "started_at_ns": NOW_NS - 60_000_000_000 + number * 1_000_000_000,
        "duration_ns": 1_234_567_890,
        "status": "ok",
        "operation": "chat",
        "model": "fast",
        "target": "acme/m",
        "key_id": "key_a",
    }
    return Span(**{**known, **fields})


def entry_of(span: Span, cost: int | None, **fields: Any) -> LedgerEntry:
    return LedgerEntry(
        call_id=span.span_id,
        attempt=0,
        at_ns=span.started_at_ns,
        trace_id=span.trace_id,
        key_id=span.key_id,
        user_id=span.user_id,
        feature=span.feature,
        model="fast",
        target="acme/m",
        input_tokens=10,
        output_tokens=5,
        cost_nanousd=None if cost is None else NanoUSD(cost),
        **fields,
    )


async def new_key(operator: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    made = await operator.post("/v1/keys", json={"name": "bot", **fields})
    assert made.status_code == 201, made.text
    return made.json()


async def test_a_key_is_made_listed_rotated_and_revoked(operator: httpx.AsyncClient) -> None:
    """A key's whole life goes over HTTP; its text is in the answer that makes it, and in no other."""
    made = await new_key(
        operator, models=["fast"], feature="search", tags=["a"], expires_at="2099-01-01T00:00:00+02:00"
    )
    assert made["key"].startswith(made["prefix"] + "_")
    assert (made["tenant"], made["rights"], made["models"]) == ("acme", ["call", "read"], ["fast"])
    assert dt.datetime.fromisoformat(made["expires_at"]) == dt.datetime(2098, 12, 31, 22, tzinfo=dt.UTC)
    rotated = await operator.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60})
    assert (rotated.status_code, rotated.json()["feature"]) == (201, "search")
    revoked = await operator.post(f"/v1/keys/{made['id']}/revoke")
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    listed = await operator.get("/v1/keys")
    assert [key["id"] for key in listed.json()["keys"]] == [rotated.json()["id"], made["id"]]
    assert made["key"] not in listed.text + revoked.text
    assert "secret" not in listed.text
    assert listed.headers["cache-control"] == "no-store"


async def test_keys_are_listed_page_by_page(operator: httpx.AsyncClient) -> None:
    """A page says where the next begins, and the last that there is none."""
    made = [(await new_key(operator))["id"] for _ in range(3)]
    first = (await operator.get("/v1/keys?limit=2")).json()
    second = (await operator.get(f"/v1/keys?limit=2&before={first['next']}")).json()
    assert [key["id"] for key in (*first["keys"], *second["keys"])] == sorted(made, reverse=True)
    assert second["next"] is None


BAD_REQUESTS: list[tuple[str, str, dict[str, Any], int, str | None]] = [
    ("POST", "/v1/keys", {"json": {}}, 400, "name"),
    ("POST", "/v1/keys", {"json": {"name": 7}}, 400, "name"),
    ("POST", "/v1/keys", {"json": {"name": "x", "colour": "red"}}, 400, "colour"),
    ("POST", "/v1/keys", {"json": {"name": "x", "expires_at": "2099-01-01T00:00:00"}}, 400, "expires_at"),
    ("POST", "/v1/keys", {"json": {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}}, 400, "expires_at"),
    ("POST", "/v1/keys", {"json": {"name": "x", "rights": ["own"]}}, 400, "rights[0]"),
    ("POST", "/v1/keys", {"json": ["name"]}, 400, None),
    ("POST", "/v1/keys", {"content": b"{", "headers": {"content-type": "application/json"}}, 400, None),
    ("POST", "/v1/keys", {"content": b'{"name":"\xff"}', "headers": {"content-type": "application/json"}}, 400, None),
    ("POST", "/v1/keys", {"content": b"[" * 9999, "headers": {"content-type": "application/json"}}, 400, None),
    ("POST", "/v1/keys", {"content": b'{"name":"x"}'}, 415, None),
    ("POST", "/v1/keys", {"content": b""}, 415, None),
    ("POST", "/v1/keys", {"data": {"name": "x"}}, 415, None),
    ("POST", "/v1/keys", {"json": {"name": "x" * 1024 * 1024}}, 413, None),
    ("POST", "/v1/keys?tenant=x", {"json": {"name": "x"}}, 400, "tenant"),
    ("POST", "/v1/keys/key_none/revoke", {}, 404, None),
    ("POST", "/v1/keys/%00/revoke", {}, 404, None),
    ("POST", "/v1/keys/key_none/rotate", {"json": {"grace_s": -1}}, 400, "grace_s"),
    ("POST", "/v1/people", {"json": {"email": "nobody"}}, 400, "email"),
    ("POST", "/v1/people", {"json": {"email": "a@b", "role": "king"}}, 400, "role"),
    ("POST", "/v1/people/per_none/disable", {}, 404, None),
    ("DELETE", "/v1/keys", {}, 405, None),
    ("PUT", "/v1/traces/tail", {}, 405, None),
    ("GET", "/v1/nothing", {}, 404, None),
    ("GET", "/v1/keys?limit=0", {}, 400, "limit"),
    ("GET", "/v1/keys?limit=many", {}, 400, "limit"),
    ("GET", "/v1/keys?limit=1&limit=2", {}, 400, "limit"),
    ("GET", "/v1/keys?before=%00", {}, 400, "before"),
    ("GET", "/v1/audit?before=-1", {}, 400, "before"),
    ("GET", "/v1/traces?limit=501", {}, 400, "limit"),
    ("GET", "/v1/traces?since=yesterday", {}, 400, "since"),
    ("GET", "/v1/traces?since=2026-01-01T00:00:00", {}, 400, "since"),
    ("GET", "/v1/traces?status=fine", {}, 400, "status"),
    ("GET", "/v1/traces?colour=red", {}, 400, "colour"),
    ("GET", "/v1/traces?before=x", {}, 400, "before"),
    ("GET", "/v1/traces?q=%00", {}, 400, "q"),
    ("GET", "/v1/traces/short", {}, 400, "trace_id"),
    ("GET", f"/v1/traces/{TRACE}", {}, 404, None),
    ("GET", "/v1/costs?by=colour", {}, 400, "by[0]"),
    ("GET", "/v1/costs?by=", {}, 400, "by[0]"),
    ("GET", "/v1/costs?until=soon", {}, 400, "until"),
]


@pytest.mark.parametrize(("method", "path", "sent", "status", "param"), BAD_REQUESTS)
async def test_bad_requests_are_explained(
    operator: httpx.AsyncClient, method: str, path: str, sent: dict[str, Any], status: int, param: str | None
) -> None:
    """What cannot be done is answered as a problem with the right status and the name of the field."""
    answer = await operator.request(method, path, **sent)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    named = problem.get("param")
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert named == param, problem
    assert problem["type"] == f"urn:backstay:problem:{problem['code']}"
    assert problem["detail"]
    assert "regex" not in problem["detail"]
    assert "$" not in problem["detail"]
    if status == 405:
        assert method not in answer.headers["allow"]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer bs_x"}, {"x-api-key": "nope"}, {"authorization": "Basic eA=="}]
)
@pytest.mark.parametrize("path", ["/v1/keys", "/v1/traces", "/v1/traces/tail", "/v1/costs", "/v1/catalog", "/v1/audit"])
async def test_a_credential_is_needed(app: Starlette, path: str, headers: dict[str, str]) -> None:
    """Without a valid credential nothing is told but what is needed."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://backstay.test") as nobody:
        answer = await nobody.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_rights_are_held(app: Starlette, operator: httpx.AsyncClient) -> None:
    """A key that calls reads nothing, one that reads manages nothing, and one with admin does all, in its tenant."""
    allowed = {
        "call": {"/v1/catalog"},
        "read": {"/v1/catalog", "/v1/traces", "/v1/costs"},
        "admin": {"/v1/catalog", "/v1/traces", "/v1/costs", "/v1/keys", "/v1/people", "/v1/audit"},
    }
    for right, paths in allowed.items():
        key = (await new_key(operator, rights=[right]))["key"]
        async with as_holder(app, key) as holder:
            statuses = {path: (await holder.get(path)).status_code for path in allowed["admin"]}
        assert statuses == {path: 200 if path in paths else 403 for path in allowed["admin"]}


async def test_people_are_invited_linked_and_shut_out(operator: httpx.AsyncClient) -> None:
    """An invitation's link leads to where the server was reached; disabling and enabling say what holds now."""
    invited = (await operator.post("/v1/people", json={"email": "Ada@example.com", "role": "editor"})).json()
    person = invited["person"]
    assert (person["email"], person["role"], invited["mailed"]) == ("ada@example.com", "editor", False)
    assert invited["url"] == f"http://backstay.test/login?token={invited['token']}"
    again = await operator.post("/v1/people", json={"email": "ada@example.com"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await operator.post(f"/v1/people/{person['id']}/link")).status_code == 201
    assert (await operator.post(f"/v1/people/{person['id']}/sign-out")).json() == {"sessions": 0}
    assert (await operator.post(f"/v1/people/{person['id']}/disable")).json()["disabled_at"] is not None
    assert (await operator.post(f"/v1/people/{person['id']}/link")).status_code == 409
    assert (await operator.post(f"/v1/people/{person['id']}/enable")).json()["disabled_at"] is None
    people = (await operator.get("/v1/people")).json()["people"]
    assert [one["email"] for one in people] == ["ada@example.com"]
    audit = (await operator.get("/v1/audit?limit=2")).json()
    assert [record["action"] for record in audit["records"]] == ["person.enable", "person.disable"]
    older = (await operator.get(f"/v1/audit?before={audit['next']}")).json()
    assert [record["action"] for record in older["records"]][-1] == "tenant.create"


async def test_calls_are_listed_newest_first(operator: httpx.AsyncClient, ship: Ship, tenant: str) -> None:
    """A list has exact figures, null for the unknown, and goes on where it stopped."""
    first = call_span(1, user_id="ada", feature="search", tags=("a",), input_tokens=10, cost_nanousd=NanoUSD(412_001))
    await ship([first])
    await ship([call_span(2, status="error", error_code="overloaded", http_status=503)])
    await ship([call_span(3, status="interrupted", cost_nanousd=None)])
    page = (await operator.get("/v1/traces?limit=2")).json()
    assert [call["call_id"] for call in page["traces"]] == [f"{3:016x}", f"{2:016x}"]
    assert page["traces"][0]["cost_usd"] is None
    assert (page["traces"][1]["error_code"], page["traces"][1]["http_status"]) == ("overloaded", 503)
    rest = (await operator.get("/v1/traces", params={"limit": 2, "before": page["next"]})).json()
    (call,) = rest["traces"]
    assert rest["next"] is None
    assert (call["cost_usd"], call["duration_ms"], call["user"], call["feature"], call["tags"]) == (
        "0.000412001",
        1234.568,
        "ada",
        "search",
        ["a"],
    )
    assert dt.datetime.fromisoformat(call["started_at"]).timestamp() * 1e9 == first.started_at_ns


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("user=ada", {1}),
        ("feature=search", {1}),
        ("tag=b", {2}),
        ("model=slow", {2}),
        ("target=acme/m", {1, 3}),
        ("status=error", {3}),
        ("key=key_b", {3}),
        ("q=NEEDLE", {1}),
        ("since=1h", {1, 2, 3}),
        ("since=1h&until=59m", set[int]()),
        ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z", {1, 2, 3}),
        ("user=ada&status=error", set[int]()),
    ],
)
async def test_calls_are_filtered(
    operator: httpx.AsyncClient, ship: Ship, tenant: str, query: str, found: set[int]
) -> None:
    """Each filter keeps the calls that meet it; several keep those that meet all."""
    await ship([call_span(1, user_id="ada", feature="search")], input='{"x": "a needle"}')
    await ship([call_span(2, tags=("b",), model="slow", target="acme/s")])
    await ship([call_span(3, status="error", key_id="key_b")])
    answer = await operator.get(f"/v1/traces?{query}")
    assert {int(call["call_id"], 16) for call in answer.json()["traces"]} == found


REQUEST = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5}
ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


async def ship_trace(ship: Ship) -> None:
    """Ship a call with two attempts, the second of which answered, inside a trace of the caller's."""
    root = call_span(
        1,
        trace_id=TRACE,
        parent_id="00f067aa0ba902b7",
        input_dialect="openai",
        output_dialect="openai",
        cost_nanousd=NanoUSD(4_500),
    )
    tries = [
        call_span(number, trace_id=TRACE, parent_id=root.span_id, kind="attempt", status=status)
        for number, status in ((2, "error"), (3, "ok"))
    ]
    lines = (CostLine(unit="input_mtok", quantity=10, usd_per_million="0.15", amount_nanousd=NanoUSD(1_500)),)
    entry = entry_of(root, 4_500, lines=lines, price_source="test")
    await ship([root, *tries], [entry], input=json.dumps(REQUEST), output=json.dumps(ANSWER))


async def test_a_trace_is_a_tree(operator: httpx.AsyncClient, ship: Ship, tenant: str) -> None:
    """A trace shows the call with its attempts below it, what was said in neutral form and raw, and the cost."""
    await ship_trace(ship)
    trace = (await operator.get(f"/v1/traces/{TRACE[:8]}")).json()
    assert trace["trace_id"] == TRACE
    (call,) = trace["spans"]
    assert [(span["kind"], span["status"]) for span in call["children"]] == [("attempt", "error"), ("attempt", "ok")]
    assert {span["call_id"] for span in call["children"]} == {call["call_id"]}
    assert call["parent_id"] == "00f067aa0ba902b7"
    assert call["input"]["messages"] == [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
    assert call["input"]["parameters"]["temperature"] == 0.5
    assert json.loads(call["input"]["raw"]) == REQUEST
    assert call["output"]["choices"][0]["parts"] == [{"type": "text", "text": "Hello"}]
    assert call["output"]["choices"][0]["finish_reason"] == "stop"
    assert call["attributes"]["gen_ai.operation.name"] == "chat"
    assert call["cost_usd"] == "0.0000045"
    (cost,) = call["costs"]
    assert cost["lines"] == [
        {"unit": "input_mtok", "quantity": 10, "usd_per_million": "0.15", "amount_usd": "0.0000015"}
    ]


async def test_a_damaged_text_is_shown_as_it_is(operator: httpx.AsyncClient, ship: Ship, tenant: str) -> None:
    """A request that cannot be read is given raw, with a note, and the trace opens all the same."""
    await ship([call_span(1, trace_id=TRACE, input_dialect="openai")], input='{"messages": \u0001')
    (call,) = (await operator.get(f"/v1/traces/{TRACE}")).json()["spans"]
    assert call["input"]["messages"] is None
    assert call["input"]["note"]
    assert call["input"]["raw"] == '{"messages": \u0001'


async def test_every_span_of_a_tangled_trace_is_shown_once(
    operator: httpx.AsyncClient, ship: Ship, tenant: str
) -> None:
    """Parents that a caller's headers made a circle, a loop or a very long chain of do not break the answer."""
    loop = call_span(1, trace_id=TRACE, parent_id=f"{1:016x}")
    circle = [call_span(number, trace_id=TRACE, parent_id=f"{5 - number:016x}") for number in (2, 3)]
    chain = [call_span(number, trace_id=TRACE, parent_id=f"{number - 1:016x}") for number in range(10, 1200)]
    await ship([loop, *circle, *chain])
    trace = (await operator.get(f"/v1/traces/{TRACE}")).json()
    found = sorted(_ids(trace["spans"]))
    assert found == sorted(span.span_id for span in (loop, *circle, *chain))


def _ids(spans: list[dict[str, Any]]) -> list[str]:
    return [one for span in spans for one in (span["span_id"], *_ids(span["children"]))]


async def test_costs_are_added_up_exactly(operator: httpx.AsyncClient, ship: Ship, tenant: str) -> None:
    """Rows have the dimensions asked for, money is exact, and what is unknown is counted apart."""
    for number, (user, cost) in enumerate([("ada", 1), ("ada", 999_999_999), ("bob", None), (None, 7)], 1):
        span = call_span(number, user_id=user, cost_nanousd=cost)
        await ship([span], [entry_of(span, cost)])
    report = (await operator.get("/v1/costs?by=user,user&since=1d")).json()
    assert report["by"] == ["user"]
    assert [(row["user"], row["calls"], row["cost_usd"], row["unknown_cost_calls"]) for row in report["rows"]] == [
        ("ada", 2, "1.000000", 0),
        (None, 1, "0.000000007", 0),
        ("bob", 1, "0.000000", 1),
    ]
    assert set(report["rows"][0]) == {
        "user",
        "calls",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        "unknown_cost_calls",
        "estimated_attempts",
        "unconfirmed_attempts",
    }
    assert (report["total"]["calls"], report["total"]["cost_usd"]) == (4, "1.000000007")
    assert not report["truncated"]
    by_default = (await operator.get("/v1/costs")).json()
    assert by_default["by"] == ["user", "feature", "model"]


async def test_a_key_reads_its_own_calls_only(app: Starlette, operator: httpx.AsyncClient, ship: Ship) -> None:
    """On every path and through every filter, a key with ``read`` sees the calls made with it and no others."""
    mine = await new_key(operator)
    span = call_span(1, key_id=mine["id"])
    other = call_span(2, trace_id=TRACE)
    await ship([span], [entry_of(span, 1)])
    await ship([other], [entry_of(other, 1)])
    async with as_holder(app, mine["key"]) as holder:
        listed = (await holder.get("/v1/traces")).json()["traces"]
        assert [call["call_id"] for call in listed] == [span.span_id]
        assert (await holder.get("/v1/traces?q=0af76519")).json()["traces"] == []
        assert (await holder.get("/v1/traces?key=key_a")).status_code == 403
        assert (await holder.get(f"/v1/traces/{TRACE}")).status_code == 404
        assert (await holder.get(f"/v1/traces/{span.trace_id}")).status_code == 200
        assert (await holder.get("/v1/costs?by=key")).json()["total"]["calls"] == 1


async def test_a_shared_trace_shows_each_key_its_part(app: Starlette, operator: httpx.AsyncClient, ship: Ship) -> None:
    """Two keys whose calls share a trace id (both honoured a traceparent) see their own spans and costs in it."""
    mine = await new_key(operator)
    span, other = call_span(1, key_id=mine["id"], trace_id=TRACE), call_span(2, trace_id=TRACE)
    await ship([span], [entry_of(span, 1)])
    await ship([other], [entry_of(other, 1)])
    async with as_holder(app, mine["key"]) as holder:
        spans = (await holder.get(f"/v1/traces/{TRACE}")).json()["spans"]
    assert [one["span_id"] for one in spans] == [span.span_id]


async def test_no_tenant_sees_anothers(app: Starlette, operator: httpx.AsyncClient, ship: Ship) -> None:
    """An admin of one tenant finds nothing of another's on any path, by any filter or id."""
    span = call_span(1, trace_id=TRACE, user_id="ada")
    await ship([span], [entry_of(span, 1)], input="needle")
    ours = await new_key(operator)
    person = (await operator.post("/v1/people", json={"email": "ada@example.com"})).json()["person"]
    theirs = (
        await operator.post("/v1/keys", json={"name": "x", "rights": ["admin"]}, headers={"x-backstay-tenant": "evil"})
    ).json()
    async with as_holder(app, theirs["key"]) as eve:
        # A key's tenant is its own: the header is the operator's alone.
        eve.headers["x-backstay-tenant"] = "acme"
        for path in ("/v1/traces", "/v1/traces?user=ada", "/v1/traces?q=needle", "/v1/traces?key=key_a"):
            assert (await eve.get(path)).json()["traces"] == []
        assert (await eve.get(f"/v1/traces/{TRACE}")).status_code == 404
        assert (await eve.get("/v1/costs")).json()["rows"] == []
        assert [key["id"] for key in (await eve.get("/v1/keys")).json()["keys"]] == [theirs["id"]]
        assert (await eve.get("/v1/people")).json() == {"people": []}
        assert {record["subject"] for record in (await eve.get("/v1/audit")).json()["records"]} == {
            "evil",
            theirs["id"],
        }
        for path in (f"keys/{ours['id']}/revoke", f"keys/{ours['id']}/rotate", f"people/{person['id']}/disable"):
            assert (await eve.post(f"/v1/{path}")).status_code == 404


async def test_the_catalog_shows_models_and_prices(operator: httpx.AsyncClient) -> None:
    """The catalog is what the composition root says that the caller may use."""
    assert (await operator.get("/v1/catalog")).json() == {
        "models": [
            {
                "name": "fast of acme",
                "targets": [
                    {
                        "name": "acme/m",
                        "dialect": "openai",
                        "problem": None,
                        "free": False,
                        "prices": {"input_mtok": "0.15"},
                        "price_source": "test",
                    }
                ],
                "collection": None,
            }
        ]
    }


async def test_head_and_options(operator: httpx.AsyncClient) -> None:
    """Every path tells its methods, and HEAD is answered as GET is."""
    options = await operator.options("/v1/keys")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, POST, HEAD, OPTIONS")
    assert (await operator.head("/v1/costs")).status_code == 200


async def test_the_tail_tells_new_calls(app: Starlette, operator: httpx.AsyncClient, ship: Ship) -> None:
    """Who follows is told each new call that passes the filter, once, in the shape of the list's rows."""
    await new_key(operator)
    received = asyncio.Queue[bytes]()
    task = asyncio.create_task(_follow(app, b"user=ada", TOKEN, received))
    try:
        async with asyncio.timeout(10):
            assert await received.get() == b": listening\n\n"
            await asyncio.sleep(0.5)
            await ship([call_span(1, user_id="bob")])
            await ship([call_span(2, user_id="ada", cost_nanousd=NanoUSD(1))])
            event = await received.get()
        call = json.loads(event.removeprefix(b"data: "))
        assert (call["call_id"], call["user"], call["cost_usd"]) == (f"{2:016x}", "ada", "0.000000001")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_tail_ends_with_its_credential(app: Starlette, operator: httpx.AsyncClient, ship: Ship) -> None:
    """A key that is revoked while it follows is told no more."""
    key = await new_key(operator, rights=["admin"])
    received = asyncio.Queue[bytes]()
    task = asyncio.create_task(_follow(app, b"", key["key"], received))
    async with asyncio.timeout(10):
        await received.get()
        await asyncio.sleep(0.5)
        await operator.post(f"/v1/keys/{key['id']}/revoke")
        await ship([call_span(1)])
        told = await received.get()
        await task
    assert told == b": this credential has ended\n\n"


async def _follow(app: Starlette, query: bytes, credential: str, received: asyncio.Queue[bytes]) -> None:
    """Follow the tail as a server would run it: the test client for ASGI does not pass pieces on as they come."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/v1/traces/tail",
        "query_string": query,
        "headers": [(b"authorization", f"Bearer {credential}".encode()), (b"x-backstay-tenant", b"acme")],
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message.get("body"):
            received.put_nowait(message["body"])

    await app(scope, receive, send)


@pytest.mark.parametrize("form", ["csv", "focus", "parquet"])
async def test_exports_come_over_http(operator: httpx.AsyncClient, ship: Ship, tenant: str, form: str) -> None:
    """Each form has its type and a file's name, plain and packed alike, and says how many calls have no known cost."""
    known, unknown = call_span(1), call_span(2, cost_nanousd=None)
    await ship([known, unknown], [entry_of(known, 7), entry_of(unknown, None)])
    plain = await operator.get(f"/v1/costs/export?format={form}")
    packed = await operator.get(f"/v1/costs/export?format={form}&gzip=true")
    assert (plain.status_code, plain.headers["x-backstay-unknown-cost-calls"]) == (200, "1")
    assert (form in plain.headers["content-disposition"], packed.headers["content-type"]) == (True, "application/gzip")
    assert zlib.decompress(packed.content, 31) == plain.content
    if form == "parquet":
        assert (plain.content[:4], plain.content[-4:]) == (b"PAR1", b"PAR1")
    else:
        lines = plain.text.splitlines()
        assert len(lines) == {"csv": 3, "focus": 2}[form], "FOCUS has no charge of unknown cost"
        assert known.span_id in plain.text


async def test_a_missing_library_is_told_how_to_get(
    operator: httpx.AsyncClient, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow, Parquet is refused before a byte is sent, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = await operator.get("/v1/costs/export?format=parquet")
    assert answer.status_code == 400
    assert "pip install 'backstay[parquet]'" in answer.json()["detail"]


async def test_savings_and_what_if_come_over_http(operator: httpx.AsyncClient, ship: Ship, tenant: str) -> None:
    """Equal requests show as duplicates; what a model or a target costs elsewhere is told, or that nobody knows it."""
    body = '{"model": "fast", "messages": [{"role": "user", "content": "hello"}]}'
    for number in (1, 2, 3):
        span = call_span(number, operation="chat", input_dialect="openai")
        await ship([span], [entry_of(span, 1_000)], input=body)
    report = (await operator.get("/v1/costs/savings?since=1d")).json()
    assert (report["read_calls"], report["is_partial"]) == (3, False)
    (saving,) = report["savings"]
    assert (saving["kind"], saving["amount_usd"], saving["calls"]) == ("duplicates", "0.000002", 2)
    answer = (await operator.get("/v1/costs/what-if?model=fast&since=1d")).json()
    assert (answer["target"], answer["cost_usd"], answer["scenarios"][0]["cost_usd"]) == ("acme/m", "0.000003", None)
    assert (await operator.get("/v1/costs/what-if?model=fast&to=nothing")).status_code == 404
