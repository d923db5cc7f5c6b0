"""Owns signing in and out: by a link that works once, or by mail address and password."""

import secrets

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from backstay.access.types import SignedIn
from backstay.console.desk import Desk
from backstay.console.forms import check_origin, check_token, read_form, safe_path
from backstay.console.visit import theme_of
from backstay.core.errors import BackstayError, Forbidden, Unauthenticated

_FORM_S = 3600


class SignIn:
    """The pages for people who are not signed in yet, or want to leave."""

    def __init__(self, desk: Desk):
        self._desk = desk

    async def show(self, request: Request) -> Response:
        """Show the form. With a link's token, ask first: mail scanners open links, but only people press buttons."""
        wanted = safe_path(request.query_params.get("next"))
        token = request.query_params.get("token", "")
        if not token and await self._desk.session(request):
            return RedirectResponse(wanted, 303)
        return self._page(request, wanted=wanted, token=token)

    async def sign_in(self, request: Request) -> Response:
        """Begin a session, or show the form again with what was wrong."""
        check_origin(request)
        form = await read_form(request)
        wanted = safe_path(form.get("next"))
        try:
            self._check_form(request, form.get("csrf", ""))
            signed = await self._begin(request, form)
        except (Unauthenticated, Forbidden) as error:
            return self._page(request, wanted=wanted, email=form.get("email", ""), problem=error)
        response = RedirectResponse(wanted, 303)
        self._set_cookie(response, signed)
        response.delete_cookie(self._form_cookie, secure=self._desk.deps.secure_cookies, httponly=True, samesite="lax")
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session on the server, and forget its cookie."""
        check_origin(request)
        session = await self._desk.session(request)
        if session is not None:
            check_token(await read_form(request), session.csrf_token)
            await self._desk.deps.sessions.end(session.person.caller, session.id)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self._desk.cookie, secure=self._desk.deps.secure_cookies, httponly=True, samesite="lax")
        return response

    async def _begin(self, request: Request, form: dict[str, str]) -> SignedIn:
        sessions = self._desk.deps.sessions
        user_agent = request.headers.get("user-agent", "")
        if form.get("token"):
            return await sessions.sign_in_by_link(form["token"], user_agent=user_agent)
        address = request.client.host if request.client else ""
        return await sessions.sign_in_by_password(
            form.get("email", ""), form.get("password", ""), address=address, user_agent=user_agent
        )

    @property
    def _form_cookie(self) -> str:
        return f"{self._desk.cookie}-form"

    def _check_form(self, request: Request, token: str) -> None:
        """Before there is a session, the form's token must be that of a cookie which only our page can have set."""
        try:
            check_token({"csrf": token}, request.cookies.get(self._form_cookie, ""))
        except Forbidden:
            raise Forbidden("This page was open for too long, or cookies are off. Try again.") from None

    def _page(
        self, request: Request, *, wanted: str, token: str = "", email: str = "", problem: BackstayError | None = None
    ) -> Response:
        form_token = request.cookies.get(self._form_cookie) or secrets.token_urlsafe(24)
        context = {
            "theme": theme_of(request),
            "csrf_token": form_token,
            "next": "" if wanted == "/" else wanted,
            "token": token,
            "email": email,
            "problem": problem.message if problem else None,
        }
        headers = {"cache-control": "no-store"}
        if problem and problem.retry_after_s:
            headers["retry-after"] = str(max(1, round(problem.retry_after_s)))
        response = HTMLResponse(
            self._desk.renderer.text("login.html", context), problem.status if problem else 200, headers
        )
        response.set_cookie(
            self._form_cookie,
            form_token,
            max_age=_FORM_S,
            secure=self._desk.deps.secure_cookies,
            httponly=True,
            samesite="lax",
        )
        return response

    def _set_cookie(self, response: Response, signed: SignedIn) -> None:
        life = signed.session.expires_at - self._desk.now()
        response.set_cookie(
            self._desk.cookie,
            signed.token,
            max_age=int(life.total_seconds()),
            path="/",
            secure=self._desk.deps.secure_cookies,
            httponly=True,
            samesite="lax",
        )
