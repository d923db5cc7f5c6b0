"""Owns the page of keys: list, make (shown once), rotate, revoke."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from starlette.responses import Response

from backstay.access.types import Key, NewKey
from backstay.console.visit import Visit
from backstay.console.window import Window, span_of
from backstay.core.caller import PRIORITIES, RIGHTS, Priority
from backstay.core.errors import InvalidRequest, NotFound

_PAGE = 100

EXPIRIES = {"": "never", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}


async def show(visit: Visit) -> Response:
    """List the tenant's keys, a hundred a page, with the calls that each made in the last hour."""
    return await _list(visit)


async def create(visit: Visit) -> Response:
    """Make a key and show it, this once."""
    try:
        created = await visit.deps.keys.create(visit.caller, _new_key(visit))
    except InvalidRequest as error:
        return await _list(visit, problem=error.message, status=400)
    return visit.page("key_made.html", status=201, secret=True, key=created, replaced=None)


async def ask_revoke(visit: Visit) -> Response:
    """Say what revoking a key would stop, and ask."""
    key = await _find(visit)
    hour = _last_hour(visit)
    calls = (await _calls_of(visit, hour)).get(key.id, 0)
    return visit.page("key_revoke.html", key=key, calls=calls, hour=hour)


async def revoke(visit: Visit) -> Response:
    await visit.deps.keys.revoke(visit.caller, visit.request.path_params["key_id"])
    return visit.go("/keys")


async def rotate(visit: Visit) -> Response:
    """Make a key with the same rights and show it; the old one works for another day."""
    old = await _find(visit)
    created = await visit.deps.keys.rotate(visit.caller, old.id)
    return visit.page("key_made.html", status=201, secret=True, key=created, replaced=old)


async def _list(visit: Visit, *, problem: str | None = None, status: int = 200) -> Response:
    keys = await visit.deps.keys.list(visit.caller, limit=_PAGE + 1, before=visit.query.get("before") or None)
    models, hour = await visit.deps.catalog(visit.caller), _last_hour(visit)
    return visit.page(
        "keys.html",
        status=status,
        keys=keys[:_PAGE],
        older=visit.link(before=keys[_PAGE - 1].id) if len(keys) > _PAGE else None,
        newest=visit.link(before=None) if visit.query.get("before") else None,
        calls=await _calls_of(visit, hour) if keys else {},
        hour=hour,
        models=[model.name for model in models],
        expiries=EXPIRIES,
        priorities=PRIORITIES,
        problem=problem,
        form=visit.form,
    )


def _last_hour(visit: Visit) -> Window:
    return span_of(visit.now - timedelta(hours=1), visit.now)


async def _calls_of(visit: Visit, span: Window) -> dict[str | None, int]:
    rows = await visit.deps.ledger.costs(visit.tenant_id, by=["key"], since=span.since, until=span.until)
    return {row.key: row.calls for row in rows}


async def _find(visit: Visit) -> Key:
    wanted = visit.request.path_params["key_id"]
    # The list goes down from `before`: the first id below the wanted one's next longer is the wanted one itself.
    for key in await visit.deps.keys.list(visit.caller, limit=1, before=f"{wanted}0"):
        if key.id == wanted:
            return key
    raise NotFound("There is no such key. It may belong to another tenant.")


def _new_key(visit: Visit) -> NewKey:
    form = visit.form
    tags = tuple(filter(None, (tag.strip() for tag in form.get("tags", "").split(","))))
    models = tuple(filter(None, form.get("models", "").split(",")))
    ticked = form.get("rights", "").split(",")
    return NewKey(
        name=form.get("name", ""),
        rights=tuple(right for right in RIGHTS if ticked.count(right)),
        models=models or None,
        feature=form.get("feature") or None,
        tags=tags,
        priority=_priority(form.get("priority", "")),
        expires_at=_expiry(form.get("expires", ""), visit.now),
        requests_per_min=_count(form, "requests_per_min"),
        tokens_per_min=_count(form, "tokens_per_min"),
        concurrency=_count(form, "concurrency"),
    )


def _priority(name: str) -> Priority:
    if not name:
        return "interactive"
    if name not in PRIORITIES:
        raise InvalidRequest("Choose a priority from the list.", param="priority")
    return name


def _count(form: Mapping[str, str], name: str) -> int | None:
    text = form.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise InvalidRequest("A limit is a whole number, or left empty.", param=name)
    return int(text)


def _expiry(days: str, now: datetime) -> datetime | None:
    if days not in EXPIRIES:
        raise InvalidRequest("Choose an expiry from the list.", param="expires")
    return now + timedelta(days=int(days)) if days else None
