"""Owns a person's own page: password, sessions, colours."""

from starlette.responses import Response

from backstay.console.forms import safe_path
from backstay.console.visit import THEME_COOKIE, THEMES, Visit
from backstay.core.errors import InvalidRequest

_YEAR_S = 365 * 86_400


async def show(visit: Visit) -> Response:
    return await _page(visit)


async def set_password(visit: Visit) -> Response:
    """Set one's own password; one's other sessions end."""
    try:
        if visit.form.get("password") != visit.form.get("again"):
            raise InvalidRequest("The two passwords are not the same. Type them again.")
        await visit.deps.sessions.set_password(visit.session, visit.form.get("password", ""))
    except InvalidRequest as error:
        return await _page(visit, problem=error.message, status=400)
    return await _page(visit, said="Your password is set. Other browsers are signed out.")


async def end_session(visit: Visit) -> Response:
    await visit.deps.sessions.end(visit.caller, visit.request.path_params["session_id"])
    return visit.go("/account")


async def set_theme(visit: Visit) -> Response:
    """Keep the colours that the person chose, in this browser; none chosen follows the system."""
    response = visit.go(safe_path(visit.form.get("back")))
    theme = visit.form.get("theme", "")
    if theme in THEMES:
        response.set_cookie(
            THEME_COOKIE, theme, max_age=_YEAR_S, secure=visit.deps.secure_cookies, httponly=True, samesite="lax"
        )
    else:
        response.delete_cookie(THEME_COOKIE)
    return response


async def _page(visit: Visit, *, problem: str | None = None, said: str | None = None, status: int = 200) -> Response:
    return visit.page(
        "account.html",
        status=status,
        sessions=await visit.deps.sessions.list(visit.caller, person_id=visit.person.id),
        session_id=visit.session.id,
        problem=problem,
        said=said,
    )
