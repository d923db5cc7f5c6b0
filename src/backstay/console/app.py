"""Owns the table of the console's pages: path, method, and the least role."""

from starlette.routing import Route

from backstay.console import (
    account,
    alerts,
    audit,
    batches,
    budget_edits,
    budgets,
    collections,
    costs,
    document,
    ingests,
    keys,
    live,
    models,
    overview,
    people,
    routing,
    savings,
    trace,
    traces,
)
from backstay.console.desk import Desk, Page
from backstay.console.signin import SignIn
from backstay.console.types import ConsoleDeps

PAGES = (
    Page("/", overview.show),
    Page("/traces", traces.show),
    Page("/traces/tail", live.tail),
    Page("/traces/{trace_id}", trace.show),
    Page("/traces/{trace_id}/curl", trace.curl),
    Page("/traces/{trace_id}/raw", trace.raw),
    Page("/traces/{trace_id}/image", trace.image),
    Page("/costs", costs.show),
    Page("/costs/savings", savings.show),
    Page("/budgets", budgets.show),
    Page("/budgets", budget_edits.create, "admin", "POST"),
    Page("/budgets/{budget_id}", budget_edits.change, "admin", "POST"),
    Page("/budgets/{budget_id}/stop", budget_edits.ask_stop, "admin"),
    Page("/budgets/{budget_id}/stop", budget_edits.stop, "admin", "POST"),
    Page("/budgets/{budget_id}/resume", budget_edits.resume, "admin", "POST"),
    Page("/budgets/{budget_id}/delete", budget_edits.ask_delete, "admin"),
    Page("/budgets/{budget_id}/delete", budget_edits.delete, "admin", "POST"),
    Page("/budgets/{budget_id:path}", budgets.one),  # names in the policy may hold slashes
    Page("/models", models.show),
    Page("/routes", routing.show),
    Page("/routes/live", routing.live),
    Page("/routes/drain", routing.ask_drain, "admin"),
    Page("/routes/drain", routing.drain, "admin", "POST"),
    Page("/routes/undrain", routing.undrain, "admin", "POST"),
    Page("/batches", batches.show),
    Page("/batches/calls", batches.calls),
    Page("/batches/{batch_id}", batches.one),
    Page("/batches/{batch_id}/cancel", batches.ask_cancel, "editor"),
    Page("/batches/{batch_id}/cancel", batches.cancel, "editor", "POST"),
    Page("/collections", collections.show),
    Page("/collections/{collection}", collections.one, "editor"),
    Page("/collections/{collection}/answer", collections.answer, "editor", "POST"),
    Page("/collections/{collection}/document", document.show, "editor"),
    Page("/collections/{collection}/live", ingests.live, "editor"),
    Page("/alerts", alerts.show),
    Page("/alerts/{alert_id}", alerts.one),
    Page("/alerts/{alert_id}/acknowledge", alerts.acknowledge, "editor", "POST"),
    Page("/keys", keys.show),
    Page("/keys", keys.create, "editor", "POST"),
    Page("/keys/{key_id}/revoke", keys.ask_revoke, "editor"),
    Page("/keys/{key_id}/revoke", keys.revoke, "editor", "POST"),
    Page("/keys/{key_id}/rotate", keys.rotate, "editor", "POST"),
    Page("/people", people.show),
    Page("/people", people.invite, "admin", "POST"),
    Page("/people/{person_id}/role", people.set_role, "admin", "POST"),
    Page("/people/{person_id}/link", people.link, "admin", "POST"),
    Page("/people/{person_id}/disable", people.disable, "admin", "POST"),
    Page("/people/{person_id}/enable", people.enable, "admin", "POST"),
    Page("/audit", audit.show, "editor"),
    Page("/account", account.show),
    Page("/account/password", account.set_password, "viewer", "POST"),
    Page("/account/sessions/{session_id}/end", account.end_session, "viewer", "POST"),
    Page("/theme", account.set_theme, "viewer", "POST"),
)


def routes(deps: ConsoleDeps) -> list[Route]:
    """Build the console's routes, to be mounted at the root of the site."""
    desk = Desk(deps)
    signing = SignIn(desk)
    return [
        desk.open_route("/assets/{name}", desk.assets.serve),
        desk.open_route("/login", signing.show),
        desk.open_route("/login", signing.sign_in, "POST"),
        desk.open_route("/logout", signing.sign_out, "POST"),
        *(desk.route(page) for page in PAGES),
        desk.elsewhere_route(),
    ]
