"""The document of Backstay's own API is valid and complete, and the API does what it says, whatever it is sent."""

import datetime as dt
import re
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psycopg
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from manage_parts import SECRET, TOKEN, manage_deps
from psycopg.sql import SQL, Identifier
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest import _test_builder  # pyright: ignore[reportPrivateUsage]
from schemathesis.specs.openapi import checks
from starlette.applications import Starlette

from backstay.access import KeyRing
from backstay.api.health import Check
from backstay.api.health import routes as health_routes
from backstay.api.manage import ENDPOINTS, routes
from backstay.api.openapi import openapi_document
from backstay.api.problems import EXCEPTION_HANDLERS
from backstay.console import CatalogModel
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.store import Database

DOCUMENT = openapi_document(ENDPOINTS)

# Its types are not whole, hence Any. The tail has no end: tests/api/test_manage.py follows it.
load: Any = schemathesis.openapi.from_dict
schema: Any = load(msgspec.json.decode(msgspec.json.encode(DOCUMENT))).exclude(path="/v1/traces/tail")
OPERATIONS: dict[str, Any] = {found.ok().label: found.ok() for found in schema.get_all_operations()}


@pytest.fixture(scope="module")
def server(postgres_url: str, template_database: str) -> Iterator[str]:
    """The URL of the API on a real socket, with a database of its own."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        names = Identifier("openapi_test"), Identifier(template_database)
        connection.execute(SQL("create database {} template {}").format(*names))
    url = urlunsplit(urlsplit(postgres_url)._replace(path="/openapi_test"))
    config = uvicorn.Config(build(url), port=0, log_level="warning", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        thread.join(0.05)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join(10)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database openapi_test with (force)")


def build(url: str) -> Starlette:
    """Build the API over a database, to be run in the server's own loop."""
    database, clock = Database(url), SystemClock()
    ring = KeyRing(database, SECRET, clock)

    async def catalog(caller: Caller) -> Sequence[CatalogModel]:
        return []

    async def always() -> str | None:
        return None

    deps = manage_deps(database, ring, catalog)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await database.open()
        await ring.start()
        yield
        await ring.stop()
        await database.close()

    pages = [*health_routes([Check(name="test", probe=always)], lambda: b"# nothing\n"), *routes(deps)]
    return Starlette(routes=pages, exception_handlers=EXCEPTION_HANDLERS, lifespan=lifespan)


def _put_right(name: str, value: Any) -> Any:
    """Put right what no schema can say: that an integer is written as one, and that an expiry lies in the future."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if name == "expires_at" and isinstance(value, str):
        try:
            msgspec.convert(value, dt.datetime)
        except msgspec.ValidationError:
            return value
        return "2099-01-01T00:00:00Z"
    return value


_POSITIVE = cast(Any, checks).positive_data_acceptance
_RULED_BY_MORE = {
    "POST /v1/costs/reconcile",
    "GET /v1/costs/invoice",
    "POST /v1/budgets",
    "POST /v1/budgets/{budget_id}/change",
    "POST /v1/cache/purge",
    "POST /v1/collections",
    "POST /v1/collections/{collection}/calibration",
    "POST /v1/collections/{collection}/documents",
    "POST /v1/collections/{collection}/search",
    "POST /v1/collections/{collection}/answer",
}
"""Operations with rules that no schema can say: which time zones or currencies there are, what excludes what, what a
filter may say."""


@pytest.mark.parametrize("label", OPERATIONS)
def test_the_api_does_what_its_document_says(label: str, server: str) -> None:
    """Every operation answers generated requests, good and bad, with a documented status, type and shape."""
    # ``schema.parametrize`` would give all operations one name, of which pytest-xdist runs a single one, and would make
    # every request while tests are collected, in each of its processes.
    run = cast(Any, _test_builder).build_operation_test(
        config=schema.config,
        operation=OPERATIONS[label],
        test_func=answers_as_documented,
        given_kwargs={},
        feedback=FeedbackSources(),
    )
    run(server=server)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def answers_as_documented(case: Any, server: str) -> None:
    """Make one request, and check the answer."""
    body: Any = case.body
    if isinstance(body, dict):
        case.body = {name: _put_right(name, value) for name, value in cast(dict[str, Any], body).items()}
    left_out: Any = [_POSITIVE] if case.operation.label in _RULED_BY_MORE else []
    headers = {"Authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(base_url=server, headers=headers, timeout=20, excluded_checks=left_out)


def test_every_schema_is_valid() -> None:
    """Every schema of the document is a JSON Schema of the dialect that OpenAPI 3.1 has."""
    for found in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(found)


def test_every_reference_leads_somewhere() -> None:
    """No schema is referred to that is not in the document, and none is there that nobody refers to."""
    text = msgspec.json.encode(DOCUMENT).decode()
    used = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert used == set(DOCUMENT["components"]["schemas"])


def test_every_route_is_documented() -> None:
    """What is served is documented, method by method, each operation with a name of its own."""
    served = {(endpoint.path.replace(":path}", "}"), endpoint.method.lower()) for endpoint in ENDPOINTS}
    machines = {(f"/{name}", "get") for name in ("healthz", "readyz", "metrics", "openapi.json")}
    documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == served | machines
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_no_schema_holds_a_secret() -> None:
    """Only the answers that make a key or a link have its text."""
    with_secret = {
        name for name, found in DOCUMENT["components"]["schemas"].items() if {"key", "token"} & set(found["properties"])
    }
    assert with_secret == {"CreatedKey", "LoginLink", "CostGroup", "InvoiceLine"}
