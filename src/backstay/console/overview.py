"""Owns the overview: is all well, and what needs a look?"""

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from backstay.console.format import Figure, change, compact, duration, money, percent
from backstay.console.plots import Spark, spark
from backstay.console.render import href
from backstay.console.routing import STANDINGS
from backstay.console.routing import troubles as target_troubles
from backstay.console.spend import spend_plot, spend_series
from backstay.console.tables import csv_file
from backstay.console.traces import FAILED, NOT_ERRORS, rows_link
from backstay.console.visit import Visit
from backstay.console.window import Window, read_window
from backstay.core.money import usd
from backstay.ledger import CostRow
from backstay.tracing import CallFilter, Span
from backstay.tracing.views import ModelFigures, Overview

_TARGETS, _FEATURES, _TROUBLES = 8, 6, 6


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One of the figures at the top, with its course and the rows behind it."""

    label: str
    value: Figure
    note: str
    line: Spark
    colour: str
    href: str


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    mostly: str
    """The model that most of its calls asked for."""
    cost: int
    calls: int
    per_call: int | None
    href: str


async def show(visit: Visit) -> Response:
    """Show calls, errors, speed and spend of a window, and what lies behind them."""
    window = read_window(visit.query, visit.now)
    tenant_id, since, until = visit.tenant_id, window.since, window.until
    overview = await visit.deps.traces.overview(tenant_id, since=since, until=until, step=window.bucket)
    if visit.query.get("format") == "csv":
        return _csv(overview)
    if not overview.total.calls and not await _any_call(visit):
        return visit.page("welcome.html", window=window)
    series, targets, costs, troubles = await asyncio.gather(
        spend_series(visit, window, "model"),
        visit.deps.traces.models(tenant_id, since=since, until=until),
        visit.deps.ledger.costs(tenant_id, by=["feature", "model"], since=since, until=until),
        _troubles(visit, window),
    )
    features = _features(costs, window)
    ill = target_troubles(await visit.deps.routes.show(visit.caller))
    return visit.page(
        "overview.html",
        window=window,
        cards=_cards(overview, window),
        series=series,
        plot=spend_plot(window, series),
        targets=[(one, _target_rows(one, window)) for one in targets[:_TARGETS]],
        failed=href("/traces", {**window.rows, "status": FAILED}),
        shared_targets=len({one.target for one in targets}) < len(targets),
        problems=await _problems(visit),
        ill=ill,
        ills={line.row.name: line for line in ill},
        standings=STANDINGS,
        total=overview.total,
        features=features[:_FEATURES],
        all_features=len(features),
        largest=max((feature.cost for feature in features), default=0),
        troubles=troubles,
        share=percent,
    )


async def _any_call(visit: Visit) -> bool:
    page = await visit.deps.traces.list_calls(visit.tenant_id, CallFilter(), limit=1)
    return bool(page.calls)


async def _troubles(visit: Visit, window: Window) -> list[Span]:
    """Find the newest calls that failed, or whose worker died."""
    found: list[Span] = []
    for status in ("error", "interrupted"):
        wanted = CallFilter(status=status, since=window.since, until=window.until)
        found += (await visit.deps.traces.list_calls(visit.tenant_id, wanted, limit=_TROUBLES)).calls
    return sorted(found, key=lambda call: -call.started_at_ns)[:_TROUBLES]


async def _problems(visit: Visit) -> dict[str, str]:
    """What is wrong with a target, by its name."""
    return {
        target.name: target.problem
        for model in await visit.deps.catalog(visit.caller)
        for target in model.targets
        if target.problem
    }


def _cards(overview: Overview, window: Window) -> list[Card]:
    now, before, buckets = overview.total, overview.previous, overview.buckets
    return [
        Card(
            label="Calls",
            value=compact(now.calls),
            note=_against(now.calls, before.calls, window),
            line=spark([bucket.calls for bucket in buckets]),
            colour="c1",
            href=href("/traces", window.rows),
        ),
        Card(
            label="Errors seen by callers",
            value=percent(now.errors, now.calls),
            note=f"{now.errors:,} of {now.calls:,} calls",
            line=spark([bucket.errors / bucket.calls if bucket.calls else 0 for bucket in buckets]),
            colour="cw",
            href=href("/traces", {**window.rows, "status": FAILED}),
        ),
        Card(
            label="First token, p95",
            value=duration(now.first_token_p95_ns),
            note=f"total p95 {duration(now.p95_ns)}",
            line=spark([bucket.first_token_p95_ns for bucket in buckets]),
            colour="c3",
            href=href("/traces", window.rows),
        ),
        Card(
            label="Spend",
            value=Figure(money(now.cost_nanousd)),
            note=f"{now.unknown_cost_calls:,} calls of unknown price"
            if now.unknown_cost_calls
            else _against(now.cost_nanousd, before.cost_nanousd, window),
            line=spark([bucket.cost_nanousd for bucket in buckets]),
            colour="c2",
            href=href("/costs", window.query),
        ),
    ]


def _target_rows(one: ModelFigures, window: Window) -> str:
    """Lead to the calls of a model that a target answered, or that reached none."""
    if one.target is None and one.model is None:
        return rows_link(window, {"target": ""}, status="error")
    status = NOT_ERRORS if one.target is None else None
    return rows_link(window, {"target": one.target or "", "model": one.model or ""}, status=status)


def _against(now: int, before: int, window: Window) -> str:
    moved = change(now, before)
    if moved is None:
        return f"none {window.before}"
    return f"{moved} {window.before}" if moved.endswith("×") else f"{moved} on {window.before}"


def _features(costs: Sequence[CostRow], window: Window) -> list[Feature]:
    """Add up the models of each feature; rows come with the most expensive first."""
    groups: dict[str, list[CostRow]] = {}
    for row in costs:
        groups.setdefault(row.feature or "", []).append(row)
    features = [_feature(name, rows, window) for name, rows in groups.items()]
    return sorted(features, key=lambda feature: (-feature.cost, -feature.calls))


def _feature(name: str, rows: Sequence[CostRow], window: Window) -> Feature:
    cost, calls = sum(row.cost_nanousd for row in rows), sum(row.calls for row in rows)
    known = calls - sum(row.unknown_cost_calls for row in rows)
    return Feature(
        name=name,
        mostly=max(rows, key=lambda row: row.calls).model or "",
        cost=cost,
        calls=calls,
        per_call=round(cost / known) if known else None,
        href=rows_link(window, {"feature": name}, charged="1"),
    )


def _csv(overview: Overview) -> Response:
    header = ["at", "calls", "errors", "cost_usd", "unknown_cost_calls", "p50_ns", "p95_ns", "first_token_p95_ns"]
    rows = [
        [
            bucket.at.isoformat(),
            bucket.calls,
            bucket.errors,
            usd(bucket.cost_nanousd),
            bucket.unknown_cost_calls,
            bucket.p50_ns,
            bucket.p95_ns,
            bucket.first_token_p95_ns,
        ]
        for bucket in overview.buckets
    ]
    return csv_file("overview", header, rows)
