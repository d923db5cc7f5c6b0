"""Owns what stands before every page: who is signed in, what they may do, safe headers, and errors as sentences."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from backstay.access.types import Session
from backstay.console.assets import Assets
from backstay.console.forms import check_origin, check_token, read_form, safe_path
from backstay.console.render import Renderer, href
from backstay.console.types import ConsoleDeps
from backstay.console.visit import ROLES, Visit, theme_of
from backstay.core.errors import BackstayError, Forbidden, InvalidRequest, NotFound

SAFE_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""On every answer. What a model said is shown, so nothing in a page may run but the one script."""

_HEADINGS = {
    400: "That address is not right",
    403: "That is not yours to do",
    404: "There is no such page",
    409: "That has changed meanwhile",
    503: "Not now",
}


class Page(NamedTuple):
    """One route of the console, and the least role that may use it."""

    path: str
    answer: Callable[[Visit], Awaitable[Response]]
    role: str = "viewer"
    method: str = "GET"


class _ForPeople(Route):
    """A route that is there for browsers alone."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        wanted = dict(scope.get("headers", ())).get(b"accept", b"")
        if scope["type"] != "http" or scope["method"] != "GET" or b"text/html" not in wanted:
            return Match.NONE, {}
        return super().matches(scope)


class Desk:
    """Wraps pages into routes."""

    def __init__(self, deps: ConsoleDeps):
        self.deps = deps
        self.assets = Assets()
        self.renderer = Renderer(self.assets)

    @property
    def cookie(self) -> str:
        """Name of the session's cookie. The prefix makes browsers refuse it from other hosts and over plain http."""
        return "__Host-backstay" if self.deps.secure_cookies else "backstay"

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.deps.clock.now_ns() / 1e9, UTC)

    def route(self, page: Page) -> Route:
        """Make the route of a page for people who are signed in."""

        async def answer(request: Request) -> Response:
            return await self._answer(page, request)

        return self.open_route(page.path, answer, page.method)

    def open_route(self, path: str, answer: Callable[[Request], Awaitable[Response]], method: str = "GET") -> Route:
        """Make a route that anyone may use: for signing in, and for the static files."""

        async def guarded(request: Request) -> Response:
            try:
                response = await answer(request)
            except BackstayError as error:
                response = self._sorry(request, error)
            for name, value in SAFE_HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return Route(path, guarded, methods=[method])

    def elsewhere_route(self) -> Route:
        """Make the last route: what a person's browser finds where there is no page. Programs get their problem."""

        async def answer(request: Request) -> Response:
            path = request.url.path
            if path.endswith("/") and safe_path(path) == path:
                return RedirectResponse(href(path.rstrip("/"), request.query_params), 307)
            raise NotFound("Nothing is here. The address may have been cut off, or what it showed is gone.")

        return _ForPeople("/{rest:path}", self.open_route("/", answer).endpoint)

    async def session(self, request: Request) -> Session | None:
        """Find who is signed in; ``None`` for nobody."""
        token = request.cookies.get(self.cookie)
        return await self.deps.sessions.find(token) if token else None

    async def _answer(self, page: Page, request: Request) -> Response:
        _check_text(request.url.path, *request.query_params.values())
        session = await self.session(request)
        if session is None:
            return self._ask_to_sign_in(request)
        form: dict[str, str] = {}
        if page.method == "POST":
            check_origin(request)
            form = await read_form(request)
            check_token(form, session.csrf_token)
            _check_text(*form.values())
        visit = Visit(
            request=request,
            deps=self.deps,
            renderer=self.renderer,
            session=session,
            now=self.now(),
            form=form,
            open_alerts=await self.deps.alerts.count_open(session.person.caller) if page.method == "GET" else 0,
        )
        if not visit.may(page.role):
            allowed = " or ".join(ROLES[ROLES.index(page.role) :])
            raise Forbidden(f"This needs the role {allowed}; yours is {session.person.role}. Ask an admin.")
        return await page.answer(visit)

    def _ask_to_sign_in(self, request: Request) -> Response:
        if "text/event-stream" in request.headers.get("accept", ""):
            return PlainTextResponse("Sign in first.", 401)
        wanted = href(request.url.path, request.query_params) if request.method == "GET" else "/"
        return RedirectResponse(href("/login", {"next": "" if wanted == "/" else wanted}), 303)

    def _sorry(self, request: Request, error: BackstayError) -> Response:
        """Say in a sentence what is wrong and what to do."""
        context = {
            "theme": theme_of(request),
            "heading": _HEADINGS.get(error.status, "That did not work"),
            "message": error.message,
            "back": request.url.path if error.retryable and request.method == "GET" else "/",
            "back_word": "Try again" if error.retryable and request.method == "GET" else "To the overview",
        }
        headers = {"cache-control": "no-store"}
        if error.retry_after_s is not None:
            headers["retry-after"] = str(max(1, round(error.retry_after_s)))
        return HTMLResponse(self.renderer.text("problem.html", context), error.status, headers)


def _check_text(*texts: str) -> None:
    """Refuse what Postgres cannot take as text."""
    if any("\0" in text for text in texts):
        raise InvalidRequest("A NUL character cannot be part of any value here. Leave it out.")
