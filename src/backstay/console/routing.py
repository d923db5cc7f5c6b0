"""Owns the page of routes: which provider is ill, and what are we doing about it? And the taking of one out of use."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from backstay.console.format import percent
from backstay.console.live import event
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.console.window import RECENT
from backstay.core.errors import BackstayError, NotFound
from backstay.gateway import Board, Model, TargetRow, may_operate

_LOOK_S = 2.0
"""How often the live page looks: workers report as often."""
_QUIET_LOOKS = 7
"""After so many without a change, a line keeps the connection open."""

_SPANS_AN_HOUR = 12
"""Figures are of five minutes."""

STANDINGS: dict[str, tuple[str, str]] = {
    "drained": ("out of use", "waiting"),
    "open": ("left alone", "wrong"),
    "checking": ("being checked", "waiting"),
    "slow": ("slow", "waiting"),
    "limited": ("rate limit used up", "waiting"),
    "busy": ("full", "waiting"),
    "ready": ("in use", "right"),
    "unknown": ("not asked yet", ""),
}
"""How a target stands, in words, and their tone."""

_CAUSES = {
    "errors": "most of its tries failed",
    "slow": "most of its answers took four times as long as usual",
    "peer": "another worker found it failing",
}
_FAULTS = {
    "api_error": "an error of its own",
    "rate_limit": "over its rate limit",
    "timeout": "no answer in time",
    "unreachable": "not reachable",
    "quota": "its account is spent",
    "authentication": "our key was refused",
    "not_found": "no such model there",
    "permission": "our key may not do that",
}


class Detour(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a model's calls while one of its targets is out of use."""

    model: str
    target: str | None
    """That takes them; ``None``: no other can."""
    stand_in: str | None
    """What the callers get then; ``None``: they are refused."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one target, and what is done about it."""

    row: TargetRow
    tone: str
    why: str
    instead: tuple["Detour", ...]


async def show(visit: Visit) -> Response:
    """Show what is wrong, how each target stands, and how each model uses its targets."""
    board = await visit.deps.routes.show(visit.caller)
    return visit.page("routes.html", **_context(visit, board))


async def live(visit: Visit) -> Response:
    """Stream the parts of the page that change, until the browser goes away."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(visit), media_type="text/event-stream", headers=headers)


async def ask_drain(visit: Visit) -> Response:
    """Say what taking a target out of use would move and stop, and ask."""
    board = await visit.deps.routes.show(visit.caller)
    row = board.row(visit.query.get("target", ""))
    if row is None:
        raise NotFound("There is no such target. The page of routes lists them.")
    return visit.page(
        "route_drain.html", line=_line(board, row), row=row, hourly=row.health.tries * _SPANS_AN_HOUR, **_words()
    )


async def drain(visit: Visit) -> Response:
    await visit.deps.routes.drain(visit.caller, visit.form.get("target", ""))
    return visit.go("/routes")


async def undrain(visit: Visit) -> Response:
    await visit.deps.routes.undrain(visit.caller, visit.form.get("target", ""))
    return visit.go("/routes")


def troubles(board: Board) -> list[Line]:
    """Say what is wrong, the worst first: what is ill, then what was taken out of use."""
    wrong = [_line(board, row) for row in board.targets if row.is_ill or row.health.drain is not None]
    return sorted(wrong, key=lambda line: (line.tone != "wrong", line.row.health.drain is not None))


async def _events(visit: Visit) -> AsyncIterator[str]:
    shown: dict[str, str] = {}
    quiet = 0
    yield ": listening\n\n"
    while True:
        try:
            board = await visit.deps.routes.show(visit.caller)
        except BackstayError:
            yield ": interrupted, connect again\n\n"
            return
        parts = _parts(visit, board)
        changed = [text for name, text in parts.items() if shown.get(name) != text]
        quiet = 0 if changed else quiet + 1
        for text in changed:
            yield event("part", text)
        if quiet >= _QUIET_LOOKS:
            quiet = 0
            yield ": still here\n\n"
        shown = parts
        await asyncio.sleep(_LOOK_S)


def _parts(visit: Visit, board: Board) -> dict[str, str]:
    """Write each part of the page that may change, by its id."""
    context = {**_context(visit, board), "csrf_token": visit.session.csrf_token}
    write = visit.renderer.text
    rows = {
        f"target-{number}": write("route_row.html", {**context, "row": row, "number": number})
        for number, row in enumerate(board.targets)
    }
    return {"trouble": write("route_trouble.html", context), **rows}


def _context(visit: Visit, board: Board) -> dict[str, Any]:
    return {
        "board": board,
        "lines": troubles(board),
        "may_drain": may_operate(visit.caller),
        "was_asked": any(row.health.workers for row in board.targets),
        **_words(),
    }


def _words() -> dict[str, Any]:
    return {"standings": STANDINGS, "faults": _FAULTS, "share": percent, "rows_of": rows_of, "seconds": 1_000_000_000}


def rows_of(target: str, *, failed: bool = False) -> str:
    """Lead to the calls that tried a target in the time that its figures are of, up to when the link is followed."""
    return href("/traces", {"range": RECENT, "tried": target, "tried_failed": "1" if failed else None})


def _line(board: Board, row: TargetRow) -> Line:
    instead = tuple(
        Detour(model=model.name, target=board.next_for(model, row.name), stand_in=_stand_in(model, row.name))
        for model in board.models
        if model.name in row.models
    )
    standing = row.health.standing
    is_stuck = standing in ("open", "drained") and any(one.target is None for one in instead)
    tone = "wrong" if row.problem or standing == "open" or is_stuck else STANDINGS[standing][1]
    return Line(row=row, tone=tone, why=_why(row), instead=instead)


def _stand_in(model: Model, name: str) -> str | None:
    degraded = model.route.degraded
    if degraded.cache_stale:
        return "an old answer to the same request where one is kept, marked as degraded"
    if degraded.target is not None and degraded.target.name != name:
        return f"answers by {degraded.target.name}, marked as degraded"
    return None if degraded.message is None else "the route’s fixed message, marked as degraded"


def _why(row: TargetRow) -> str:
    health = row.health
    if health.drain is not None:
        return f"{health.drain.by} took it out of use"
    if row.problem is not None and not health.workers:
        return row.problem
    words = _CAUSES.get(health.cause or "", row.problem or "")
    error = health.last_error
    if error is not None and health.cause != "slow":
        status = f"{error.http_status}, " if error.http_status else ""
        words += f" (the last: {status}{_FAULTS.get(error.fault, error.fault.replace('_', ' '))})"
    return words
