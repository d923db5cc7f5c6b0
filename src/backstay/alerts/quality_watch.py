"""Owns the watch over collections: who looks whether they are asked, and answer, as before, and tells of it."""

import asyncio
import datetime as dt
import logging
from collections import defaultdict
from urllib.parse import quote

from backstay.alerts.raising import Alerts
from backstay.alerts.types import Finding, Key
from backstay.core.errors import BackstayError, NotFound, StoreUnavailable
from backstay.jobs.rounds import again_and_again
from backstay.retrieval import RetrievalStore
from backstay.retrieval.quality import NOW, Quality, QualityWatch
from backstay.retrieval.quality_store import QualityStore
from backstay.store import Database

_LOOK_S = 1800.0
_log = logging.getLogger(__name__)


class CollectionsWatch:
    """Looks at all tenants' collections now and then, in the process that runs jobs."""

    def __init__(self, database: Database, alerts: Alerts):
        self._alerts = alerts
        self._quality = QualityStore(database)
        self._watch = QualityWatch(RetrievalStore(database), self._quality)
        self._tenants: set[str] = set()
        """Those that were looked at before: one that is asked nothing more has no change any more."""

    async def run(self) -> None:
        """Look every half hour, until cancelled."""
        await again_and_again(self._round)

    async def _round(self) -> None:
        await self.look(dt.datetime.now(dt.UTC))
        await self._quality.forget_asks()
        await asyncio.sleep(_LOOK_S)

    async def look(self, now: dt.datetime) -> None:
        """Look once at every collection that was asked in the last day. Raises ``StoreUnavailable``."""
        found: dict[str, list[Finding]] = defaultdict(list)
        for tenant_id, name in await self._quality.asked_collections(now - NOW):
            findings = found[tenant_id]
            try:
                quality = await self._watch.of(tenant_id, name, now)
            except StoreUnavailable:
                raise
            except NotFound:
                continue
            except BackstayError as error:
                _log.error("The collection %s of %s could not be looked at: %s", name, tenant_id, error.message)
                continue
            if quality.changes:
                findings.append(finding_of(name, quality))
        for tenant_id in self._tenants | set(found):
            await self._alerts.settle(
                tenant_id, "retrieval_drift", found.get(tenant_id, []), "It is as it was, or was not asked for a day."
            )
        self._tenants = set(found)


def finding_of(name: str, quality: Quality) -> Finding:
    """Tell what is not as it was."""
    numbers: dict[str, str | int | float] = {"asks": quality.now.asks}
    for key, value in (
        ("abstained", quality.now.abstained),
        ("abstained_before", quality.before.abstained),
        ("relevance", quality.now.relevance),
        ("relevance_before", quality.before.relevance),
        ("stability_index", quality.stability_index),
        ("chance", quality.chance),
    ):
        if value is not None:
            numbers[key] = value
    return Finding(
        key=Key(kind="retrieval_drift", subject=f"collection:{name}"),
        severity="warning",
        title=f"The collection {name} is not asked, or does not answer, as in the four weeks before",
        details=tuple(quality.changes),
        numbers=numbers,
        link=f"/collections/{quote(name)}",
    )
