"""Owns the forms that make, change, stop, resume and delete budgets, each through the room's own verb."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from backstay.budgets.manage import BudgetChange, NewBudget, Record
from backstay.budgets.views import BudgetView
from backstay.console.budgets import address, find, line_of, list_page, one_page
from backstay.console.names import key_names
from backstay.console.visit import Visit
from backstay.core.errors import InvalidRequest
from backstay.store import Connection

_WITH_CURRENCY = re.compile(r"\s*[0-9.]+\s*[A-Za-z]{3}\s*")
_FIELD = re.compile(r" - at `\$\.(\w+)")

T = TypeVar("T", NewBudget, BudgetChange)


async def create(visit: Visit) -> Response:
    """Make a budget and go to its page; what is wrong is said beside its field."""
    try:
        new = _read(NewBudget, _new_fields(visit.form))
        made = await visit.deps.budgets.create(visit.caller, new, _record(visit))
    except InvalidRequest as error:
        return await list_page(visit, problems=_beside(error), status=400)
    return visit.go(address(made))


async def change(visit: Visit) -> Response:
    """Change what differs from what stands, for calls from now on."""
    view = await find(visit)
    try:
        changed = _read(BudgetChange, _changed_fields(visit.form, view))
        if changed != BudgetChange():
            await visit.deps.budgets.change(visit.caller, view.id, changed, _record(visit))
    except InvalidRequest as error:
        return await one_page(visit, problems=_beside(error), status=400)
    return visit.go(address(view))


async def ask_stop(visit: Visit) -> Response:
    """Say what stopping would refuse, and ask."""
    return await _ask(visit, "budget_stop.html")


async def ask_delete(visit: Visit) -> Response:
    """Say what deleting would no longer hold back, and ask."""
    return await _ask(visit, "budget_delete.html")


async def stop(visit: Visit) -> Response:
    return await _set_stopped(visit, stopped=True)


async def resume(visit: Visit) -> Response:
    return await _set_stopped(visit, stopped=False)


async def delete(visit: Visit) -> Response:
    await visit.deps.budgets.delete(visit.caller, visit.request.path_params["budget_id"], _record(visit))
    return visit.go("/budgets")


async def _set_stopped(visit: Visit, *, stopped: bool) -> Response:
    view = await find(visit)
    # A form that is sent twice is one act.
    if view.stopped != stopped or view.is_policy:
        await visit.deps.budgets.change(visit.caller, view.id, BudgetChange(stopped=stopped), _record(visit))
    return visit.go(address(view))


async def _ask(visit: Visit, template: str) -> Response:
    view = await find(visit)
    return visit.page(template, view=view, line=line_of(view, await key_names(visit)))


def _record(visit: Visit) -> Record:
    async def record(connection: Connection, action: str, subject: str, detail: dict[str, Any]) -> None:
        await visit.deps.audit.note_own(connection, visit.caller, action, subject, **detail)

    return record


def _new_fields(form: Mapping[str, str]) -> dict[str, Any]:
    scope = [part.strip() for part in form.get("scope", "").split(",")]
    return {
        **_limit(form.get("limit_usd", "")),
        "scope": [part for part in scope if part],
        "per": form.get("per") or None,
        "window": form.get("window", "month"),
        "name": form.get("name", ""),
        "time_zone": form.get("time_zone") or "UTC",
        "hard": form.get("kind", "hard") != "soft",
        "on_low_budget": form.get("on_low_budget", "clamp"),
        "rollover": form.get("rollover") == "on",
    }


def _changed_fields(form: Mapping[str, str], view: BudgetView) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if not _is_same(form.get("limit_usd", ""), view):
        wanted |= _limit(form.get("limit_usd", ""))
    if (hard := form.get("kind", "hard") != "soft") != view.hard:
        wanted["hard"] = hard
    if (on_low := form.get("on_low_budget", view.on_low_budget)) != view.on_low_budget:
        wanted["on_low_budget"] = on_low
    return wanted


def _limit(written: str) -> dict[str, str]:
    """Tell an amount with its currency from one of US dollars."""
    return {"limit" if _WITH_CURRENCY.fullmatch(written) else "limit_usd": written}


def _is_same(written: str, view: BudgetView) -> bool:
    """Whether an amount is the limit that stands, without what the window before left over."""
    try:
        return Decimal(written) == Decimal(view.limit_usd) - Decimal(view.carried_usd)
    except InvalidOperation:
        return False


def _read(kind: type[T], fields: dict[str, Any]) -> T:
    """Read a form's fields. Raises ``InvalidRequest`` that names the field."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        message = _FIELD.split(str(error))[0]
        raise InvalidRequest(f"{message}.", param=field[1] if field else None) from None


def _beside(error: InvalidRequest) -> dict[str, str]:
    return {"limit_usd" if error.param == "limit" else error.param or "": error.message}
