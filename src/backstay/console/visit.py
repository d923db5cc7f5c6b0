"""Owns one request of a person who is signed in, with all that a page needs to answer it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from backstay.access.types import Person, Session
from backstay.console.render import NAVIGATION, Renderer, href
from backstay.console.types import ConsoleDeps
from backstay.core.caller import Caller

ROLES = ("viewer", "reviewer", "editor", "admin")
"""Roles, each of which may do what those before it may."""

THEMES = ("light", "dark")
THEME_COOKIE = "backstay-theme"


@dataclass(frozen=True, kw_only=True)
class Visit:
    request: Request
    deps: ConsoleDeps
    renderer: Renderer
    session: Session
    now: datetime
    form: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields of a POST, its CSRF token already checked."""
    open_alerts: int = 0

    @property
    def person(self) -> Person:
        return self.session.person

    @property
    def caller(self) -> Caller:
        return self.person.caller

    @property
    def tenant_id(self) -> str:
        return self.person.tenant

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def base_url(self) -> str:
        """Where callers reach the gateway, without a slash at the end."""
        return (self.deps.base_url or str(self.request.base_url)).rstrip("/")

    def may(self, role: str) -> bool:
        return ROLES.index(self.person.role) >= ROLES.index(role)

    def link(self, **changes: str | None) -> str:
        """Return this page's address with some of its query changed; ``None`` drops a field."""
        query = {**self.query, **changes}
        return href(self.request.url.path, query)

    def page(self, template: str, *, status: int = 200, secret: bool = False, **context: Any) -> Response:
        """Answer with a page. ``secret``: it holds what is shown once, and no cache may keep it."""
        path = self.request.url.path
        shared: dict[str, Any] = {
            "theme": theme_of(self.request),
            "navigation": [
                (group, [place for place in places if self.may(place.role)]) for group, places in NAVIGATION
            ],
            "here": "/" + path.split("/")[1],
            "address": self.link(),
            "csrf_token": self.session.csrf_token,
            "person": self.person,
            "may_edit": self.may("editor"),
            "may_admin": self.may("admin"),
            "base_url": self.base_url,
            "open_alerts": self.open_alerts,
            "curl_example": curl_example(self.base_url),
            "now": self.now,
            "link": self.link,
        }
        headers = {"cache-control": "no-store" if secret else "private, no-cache"}
        return HTMLResponse(self.renderer.text(template, shared | context), status, headers)

    def go(self, path: str) -> Response:
        """Send the browser on to a page of the console after a POST."""
        return RedirectResponse(path, 303)


def theme_of(request: Request) -> str:
    """Return the colours that the person chose: ``light``, ``dark``, or empty to follow the system."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""


def curl_example(base_url: str) -> str:
    """Write a first call, to be pasted into a shell."""
    return (
        f'curl {base_url}/v1/chat/completions \\\n  -H "authorization: Bearer $BACKSTAY_KEY" \\\n'
        '  -H "content-type: application/json" \\\n'
        '  -d \'{"model": "local", "messages": [{"role": "user", "content": "Say hello in one word."}]}\''
    )
