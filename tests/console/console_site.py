"""Owns the site that the console's tests visit: pages over their rooms, and a client that acts as a browser does."""

import re
from dataclasses import dataclass

import httpx2
from starlette.applications import Starlette

from backstay.access import Keys, People
from backstay.access.types import Role
from backstay.console import CatalogModel, CatalogTarget
from backstay.core.caller import RIGHTS, Caller
from backstay.gateway import Degraded, Model, Models, Route, Target
from backstay.providers.simulator import Simulator
from backstay.store import Database

TENANT = "acme"
BASE_URL = "http://console.test"

CATALOG = (
    CatalogModel(
        name="gpt-4o-mini",
        targets=(
            CatalogTarget(
                name="openai/gpt-4o-mini",
                dialect="openai",
                prices={"input_mtok": "0.15", "cache_read_mtok": "0.075", "output_mtok": "0.6"},
                price_source="genai-prices 0.2.3",
            ),
            CatalogTarget(name="azure/gpt-4o-mini", dialect="openai", problem="no key"),
        ),
    ),
    CatalogModel(name="local", targets=(CatalogTarget(name="local/smollm2", dialect="openai", is_free=True),)),
    CatalogModel(
        name="embed",
        targets=(CatalogTarget(name="local/minilm", dialect="openai", is_free=True),),
    ),
    CatalogModel(name="docs", targets=(), collection="handbook"),
)


def _target(name: str) -> Target:
    provider, _, model_id = name.partition("/")
    return Target(name=name, provider=Simulator(provider), model_id=model_id, price_model=model_id)


MODELS = Models(
    {
        "gpt-4o-mini": Model(
            name="gpt-4o-mini",
            targets=(_target("openai/gpt-4o-mini"), _target("azure/gpt-4o-mini")),
            route=Route(on_broken_stream="continue", degraded=Degraded(message="Please try again in a few minutes.")),
        ),
        "claude-sonnet": Model(
            name="claude-sonnet",
            targets=(_target("anthropic/claude-sonnet-4-5"), _target("bedrock/claude-sonnet-4-5")),
            route=Route(strategy="weighted", sticky=True),
        ),
        "local": Model(name="local", targets=(_target("local/smollm2"),)),
    }
)


@dataclass(frozen=True)
class Site:
    """The console, and the rooms behind it."""

    app: Starlette
    database: Database
    keys: Keys
    people: People

    def operator(self, tenant_id: str = TENANT) -> Caller:
        return Caller(tenant_id=tenant_id, kind="operator", id="operator", name="operator", rights=frozenset(RIGHTS))

    async def link_for(self, role: Role, *, tenant_id: str = TENANT) -> str:
        """Invite somebody of a role and return the token of their link."""
        made = await self.people.invite(self.operator(tenant_id), f"{role}@{tenant_id}.example", role)
        return made.token


class Browser:
    """A client with cookies that sends forms as a browser does: with the page's own token."""

    def __init__(self, app: Starlette):
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=BASE_URL)

    async def get(self, path: str, status: int = 200) -> str:
        response = await self.http.get(path)
        assert response.status_code == status, response.text
        return response.text

    async def send(self, page: str, path: str, **fields: str) -> httpx2.Response:
        """Open a page, take its token, and post a form to a path."""
        html = (await self.http.get(page)).text
        token = re.search(r'name="csrf" value="([^"]+)"', html)
        assert token is not None, f"no form on {page}"
        headers = {"origin": BASE_URL, "sec-fetch-site": "same-origin"}
        return await self.http.post(path, data={"csrf": token[1], **fields}, headers=headers)

    async def sign_in(self, token: str) -> None:
        response = await self.send(f"/login?token={token}", "/login", token=token)
        assert response.status_code == 303, response.text
