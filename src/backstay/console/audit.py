"""Owns the page of the audit log: who did what, the newest first."""

from typing import Any

from starlette.responses import Response

from backstay.access.types import AuditRecord
from backstay.console.visit import Visit
from backstay.core.errors import InvalidRequest

_PAGE = 100

WORDS = {
    "key.create": "made the key",
    "key.revoke": "revoked the key",
    "key.rotate": "rotated the key",
    "alert.acknowledge": "looks after the alert",
    "batch.cancel": "cancelled the batch",
    "budget.create": "made the budget",
    "budget.change": "changed the budget",
    "budget.stop": "stopped the budget",
    "budget.resume": "resumed the budget",
    "budget.delete": "deleted the budget",
    "worker.forget": "wrote off the worker",
    "collection.create": "made the collection",
    "collection.delete": "deleted the collection",
    "collection.change": "changed the settings of the collection",
    "collection.calibrate": "calibrated the collection",
    "collection.uncalibrate": "let go of the calibration of the collection",
    "collection.remove": "deleted documents of the collection",
    "collection.prune": "pruned the collection",
    "collection.ingest": "sent documents to the collection",
    "collection.crawl": "began a crawl into the collection",
    "collection.end_crawl": "ended a crawl into the collection",
    "collection.migrate": "began another index of the collection",
    "collection.switch": "switched the index of the collection",
    "collection.drop_generation": "dropped an index of the collection",
    "person.invite": "invited",
    "person.link": "made a sign-in link for",
    "person.role": "changed the role of",
    "person.disable": "disabled",
    "person.enable": "enabled",
    "person.password": "set a password",
    "session.begin": "signed in",
    "session.refuse": "failed to sign in",
    "session.end": "ended a session",
    "session.end_all": "ended all sessions of",
    "target.drain": "took out of use",
    "target.undrain": "put in use again",
    "tenant.create": "made the tenant",
    "webhooks.secret": "made a webhook secret for",
}
"""Acts as a sentence's verb; an act without words here is shown by its name."""


async def show(visit: Visit) -> Response:
    """List the tenant's audit records, a hundred a page."""
    before = visit.query.get("before")
    if before is not None and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise InvalidRequest("`before` must be the number of a record.", param="before")
    records = await visit.deps.audit.list(visit.caller, limit=_PAGE + 1, before=int(before) if before else None)
    return visit.page(
        "audit.html",
        records=[audit_row(record) for record in records[:_PAGE]],
        older=visit.link(before=str(records[_PAGE - 1].id)) if len(records) > _PAGE else None,
        newest=visit.link(before=None) if before else None,
    )


def audit_row(record: AuditRecord) -> dict[str, Any]:
    """Write a record as a sentence."""
    detail = dict(record.detail)
    by = detail.pop("by", None)
    named = detail.pop("name", None) or detail.pop("email", None)
    return {
        "at": record.at,
        "who": by or record.actor,
        "actor": record.actor,
        "did": WORDS.get(record.action, record.action),
        "action": record.action,
        "what": "" if record.actor.endswith(f":{record.subject}") else named or record.subject,
        "subject": record.subject,
        "detail": ", ".join(
            f"{name}: {_written(value)}" for name, value in detail.items() if value not in (None, [], "")
        ),
    }


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
