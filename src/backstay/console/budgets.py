"""Owns the pages of budgets: what may still be spent, who holds it, what is refused, and who changed what."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from backstay.budgets.burn import Burn
from backstay.budgets.types import DIMENSIONS, OnLow, Span
from backstay.budgets.views import BudgetState, BudgetView
from backstay.console.audit import audit_row
from backstay.console.burn import BurnPlot, burn_moments, burn_plot, even_line, spent_line
from backstay.console.format import money
from backstay.console.names import key_names
from backstay.console.plots import Series
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, from_usd
from backstay.tracing import CallFilter
from backstay.tracing import Span as CallSpan

STATES: Mapping[BudgetState, tuple[str, str]] = {
    "active": ("active", "right"),
    "stopped": ("stopped", "wrong"),
    "exhausted": ("exhausted", "wrong"),
    "over": ("over its limit", "waiting"),
}
"""How a budget stands, in words, and their tone."""

ON_LOW: Mapping[OnLow, str] = {
    "clamp": "shorten the answer",
    "downgrade": "take a cheaper target",
    "queue": "wait for money",
    "refuse": "refuse the call",
}
"""What is done where a call's worst case does not fit, in words."""

_REFUSALS = frozenset({"budget_exhausted", "spending_stopped"})
_NEARLY = 0.9
_SHOWN = 10
_REFUSALS_SHOWN = 5
_REFUSALS_READ = 25
_ACTS = 50
_LOOK_BACK = timedelta(days=7)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as it is shown, amounts in nano-USD. Of one that each user, … has for itself, of who spent most."""

    view: BudgetView
    subject: str
    whose: str
    href: str
    limit: NanoUSD
    spent: NanoUSD
    held: NanoUSD
    all_spent: NanoUSD
    all_held: NanoUSD

    @property
    def left(self) -> int:
        return max(0, self.limit - self.spent - self.held)

    @property
    def is_nearly_spent(self) -> bool:
        return self.view.state == "active" and self.spent >= _NEARLY * self.limit

    @property
    def needs_a_look(self) -> bool:
        return self.view.state != "active" or self.is_nearly_spent


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """A budget's window over time."""

    line: Line
    plot: BurnPlot
    moments: Sequence[Any]
    series: Sequence[Series]
    burn: Burn

    @property
    def time_shape(self) -> str:
        return "minute" if self.burn.until - self.burn.since <= timedelta(hours=36) else "day"


async def show(visit: Visit) -> Response:
    """List the budgets of the tenant and of the policy, those that need a look first of all."""
    return await list_page(visit)


async def one(visit: Visit) -> Response:
    """Show one budget: its window over time, who holds parts of it, what it refused, and who changed it."""
    return await one_page(visit)


async def list_page(visit: Visit, *, problems: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """List budgets; ``problems`` are those of the form for a new one, by field."""
    views = await visit.deps.budgets.list(visit.caller)
    names = await key_names(visit)
    lines = [line_of(view, names) for view in views]
    scope, state = visit.query.get("scope", ""), visit.query.get("state", "")
    if state and state not in STATES:
        raise InvalidRequest(f"There is no state {state!r}. Choose one of {', '.join(STATES)}.", param="state")
    return visit.page(
        "budgets.html",
        status=status,
        is_empty=not lines,
        attention=[line for line in lines if line.needs_a_look],
        lines=[line for line in lines if scope in ("", line.view.scope) and state in ("", line.view.state)],
        scopes={line.view.scope: line.whose for line in lines},
        chosen={"scope": scope, "state": state},
        problems=problems or {},
        form=visit.form,
        spans=get_args(Span),
        dimensions=DIMENSIONS,
        **_words(),
    )


async def one_page(visit: Visit, *, problems: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Show one budget; ``problems`` are those of the form that changes it, by field."""
    view = await find(visit)
    names = await key_names(visit)
    line = line_of(view, names, _subject(visit, view))
    (drawn,) = await draw(visit, [line])
    words, refused = await _refused(visit, line, drawn.burn)
    burns, tenant_id = visit.deps.burns, visit.tenant_id
    return visit.page(
        "budget.html",
        status=status,
        line=line,
        view=view,
        drawn=drawn,
        base_limit=_plain(from_usd(view.limit_usd) - from_usd(view.carried_usd)),
        leases=await burns.leases(tenant_id, view, line.subject),
        dearest=await burns.dearest(tenant_id, view, line.subject, limit=_SHOWN),
        refused=refused,
        refused_link=words,
        users=[(use.subject, line_of(view, names, use.subject)) for use in view.subjects],
        history=await _history(visit, view),
        problems=problems or {},
        form=visit.form,
        **_words(),
    )


async def find(visit: Visit) -> BudgetView:
    """Find the budget of the page's address. Raises ``NotFound``."""
    return await visit.deps.budgets.show(visit.caller, visit.request.path_params["budget_id"])


def line_of(view: BudgetView, keys: Mapping[str, str], subject: str | None = None) -> Line:
    """Show a budget of one subject; ``None``: of who spent most of it."""
    use = next((each for each in view.subjects if subject in (None, each.subject)), None)
    shown = view if use is None else use
    is_of_nobody = use is None and view.per is not None
    return Line(
        view=view,
        subject=(subject or "") if use is None else use.subject,
        whose=whose(view, keys),
        href=address(view),
        limit=from_usd(shown.limit_usd),
        spent=NanoUSD(0) if is_of_nobody else from_usd(shown.spent_usd),
        held=NanoUSD(0) if is_of_nobody else from_usd(shown.reserved_usd),
        all_spent=from_usd(view.spent_usd),
        all_held=from_usd(view.reserved_usd),
    )


def address(view: BudgetView) -> str:
    """Where a budget's page is."""
    return f"/budgets/{quote(view.id, safe=':')}"


def whose(view: BudgetView, keys: Mapping[str, str]) -> str:
    """Say whose calls a budget counts, keys by their names."""
    parts: list[str] = []
    for part in view.scope.split(","):
        dimension, _, value = part.partition(":")
        name = keys.get(value, value) if dimension == "key" else value
        parts.append("all calls" if dimension == "tenant" else f"{dimension} {name}")
    return " of ".join(parts) + (f", each {view.per}" if view.per else "")


async def draw(visit: Visit, lines: Sequence[Line], *, height: float = 150.0) -> list[Drawn]:
    """Read and lay out how the windows of some budgets were spent."""
    burns = await visit.deps.burns.read(visit.tenant_id, [(line.view, line.subject) for line in lines], now=visit.now)
    return [_drawn(visit, line, burn, height) for line, burn in zip(lines, burns, strict=True)]


async def burning(visit: Visit, most: int) -> list[Drawn]:
    """Draw the budgets that matter most now, small: what needs a look, then what is spent most of its limit."""
    names = await key_names(visit)
    lines = [line_of(view, names) for view in await visit.deps.budgets.list(visit.caller)]
    lines.sort(key=lambda line: (not line.needs_a_look, -line.spent / max(line.limit, 1)))
    return await draw(visit, lines[:most], height=30.0)


def _drawn(visit: Visit, line: Line, burn: Burn, height: float) -> Drawn:
    moments = burn_moments(burn, visit.now)
    series = [spent_line(burn, moments, visit.now)]
    if line.view.resets_at is not None:
        series.append(even_line(burn, moments, line.limit))
    plot = burn_plot(moments, series, limit=line.limit, write=money, height=height)
    return Drawn(line=line, plot=plot, moments=moments, series=series, burn=burn)


def _subject(visit: Visit, view: BudgetView) -> str | None:
    return visit.query.get("subject") or None if view.per is not None else None


async def _refused(visit: Visit, line: Line, burn: Burn) -> tuple[str, list[CallSpan]]:
    """Find the last calls that budgets of this scope refused, by the words of their error, and where all are."""
    name = line.view.describe(line.subject)
    words = f"Spending of the {name} was stopped" if line.view.stopped else f"of the {name}'s budget of"
    since = max(burn.since, visit.now - _LOOK_BACK)
    wanted = CallFilter(since=since, status="error", q=words)
    page = await visit.deps.traces.list_calls(visit.tenant_id, wanted, limit=_REFUSALS_READ)
    # Any text of a call is searched; its error's code says that it was a budget.
    calls = [call for call in page.calls if call.error_code in _REFUSALS]
    link = href("/traces", {"since": since.isoformat().replace("+00:00", "Z"), "status": "error", "q": words})
    return link, calls[:_REFUSALS_SHOWN]


async def _history(visit: Visit, view: BudgetView) -> Sequence[Mapping[str, Any]] | None:
    """List who changed what, for those who may read the audit log; ``None`` for others, and of the policy's."""
    if view.is_policy or not visit.may("editor"):
        return None
    records = await visit.deps.audit.list(visit.caller, subject=view.id, limit=_ACTS)
    return [audit_row(record) for record in records]


def _plain(amount: int) -> str:
    """Write dollars as one would type them."""
    whole, nano = divmod(amount, 1_000_000_000)
    return f"{whole}.{nano:09d}".rstrip("0").rstrip(".")


def _words() -> dict[str, Any]:
    return {"states": STATES, "on_low": ON_LOW}
