"""Owns the page of models: each name, its targets, their prices, whether they can answer."""

from datetime import timedelta

from starlette.responses import Response

from backstay.console.visit import Visit
from backstay.console.window import span_of

_PRICES = (
    ("input_mtok", "input"),
    ("cache_read_mtok", "cached"),
    ("output_mtok", "output"),
)


async def show(visit: Visit) -> Response:
    """List the models with the calls and spend of each over the last day."""
    models = await visit.deps.catalog(visit.caller)
    day = span_of(visit.now - timedelta(hours=24), visit.now)
    rows = await visit.deps.ledger.costs(visit.tenant_id, by=["model"], since=day.since, until=day.until)
    return visit.page("models.html", models=models, used={row.model: row for row in rows}, day=day, prices=_PRICES)
