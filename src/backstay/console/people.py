"""Owns the page of people: list, invite, roles, sign-in links, disable."""

from typing import get_args

from starlette.responses import Response

from backstay.access.types import Role
from backstay.console.visit import Visit
from backstay.core.errors import Conflict, InvalidRequest

ROLES: tuple[Role, ...] = get_args(Role)

ROLE_WORDS: dict[Role, str] = {
    "viewer": "reads traces and costs",
    "reviewer": "reads, and decides reviews",
    "editor": "also makes and ends keys",
    "admin": "also manages people",
}


async def show(visit: Visit) -> Response:
    """List the tenant's people."""
    return await _page(visit)


async def invite(visit: Visit) -> Response:
    """Make an account and show the link that signs its person in, this once."""
    try:
        email = visit.form.get("email", "")
        made = await visit.deps.people.invite(visit.caller, email, _role(visit), base_url=visit.base_url)
    except (InvalidRequest, Conflict) as error:
        return await _page(visit, problem=error.message, status=error.status)
    return visit.page("person_link.html", status=201, secret=True, made=made, invited=True)


async def link(visit: Visit) -> Response:
    """Make another sign-in link for somebody and show it, this once."""
    made = await visit.deps.people.link(visit.caller, _person_id(visit), base_url=visit.base_url)
    return visit.page("person_link.html", status=201, secret=True, made=made, invited=False)


async def set_role(visit: Visit) -> Response:
    await visit.deps.people.set_role(visit.caller, _person_id(visit), _role(visit))
    return visit.go("/people")


async def disable(visit: Visit) -> Response:
    await visit.deps.people.disable(visit.caller, _person_id(visit))
    return visit.go("/people")


async def enable(visit: Visit) -> Response:
    await visit.deps.people.enable(visit.caller, _person_id(visit))
    return visit.go("/people")


async def _page(visit: Visit, *, problem: str | None = None, status: int = 200) -> Response:
    return visit.page(
        "people.html",
        status=status,
        people=await visit.deps.people.list(visit.caller),
        roles=ROLES,
        role_words=ROLE_WORDS,
        form=visit.form,
        problem=problem,
    )


def _person_id(visit: Visit) -> str:
    return visit.request.path_params["person_id"]


def _role(visit: Visit) -> Role:
    wanted = visit.form.get("role", "")
    for role in ROLES:
        if role == wanted:
            return role
    raise InvalidRequest(f"There is no role {wanted!r}. Choose one of {', '.join(ROLES)}.", param="role")
