"""The watch over collections on a real Postgres: what is not as it was is an alert, once, and over when it is over."""

import datetime as dt

import numpy as np
import pytest

from backstay.alerts import Alerts
from backstay.alerts.quality_watch import CollectionsWatch
from backstay.alerts.rules import AlertRules
from backstay.retrieval import RetrievalStore, Settings
from backstay.retrieval.quality import QualityWatch
from backstay.retrieval.quality_store import AskRow, QualityStore
from backstay.store import Database

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def asks(generation: int, number: int, *, topic: int, abstained: int, relevance: float = 0.6) -> list[AskRow]:
    """Make asks about one topic, of which so many were not answered."""
    chance = np.random.default_rng(topic)
    rows: list[AskRow] = []
    for place in range(number):
        vector = chance.normal(scale=0.1, size=8)
        vector[topic] += 1
        vector /= np.linalg.norm(vector)
        rows.append(
            AskRow(
                tenant_id="acme",
                collection="docs",
                generation=generation,
                results=3,
                relevance=relevance + 0.001 * (place % 7),
                abstained=place < abstained,
                direction=vector.astype(np.float16).tobytes(),
                query=f"About topic {topic}?",
            )
        )
    return rows


async def keep(database: Database, quality: QualityStore, rows: list[AskRow], at: dt.datetime) -> None:
    await quality.note_asks(rows)
    async with database.system() as connection:
        await connection.execute(
            "update retrieval_asks set asked_at = %s where asked_at > now() - interval '1 hour'", [at]
        )


async def open_alerts(database: Database) -> list[tuple[str, str]]:
    async with database.system() as connection:
        rows = await (
            await connection.execute("select kind, subject from alerts where state = 'open' order by subject")
        ).fetchall()
    return [(row["kind"], row["subject"]) for row in rows]


@pytest.fixture
async def quality(database: Database, tenant: str) -> QualityStore:
    store = RetrievalStore(database)
    await store.ensure()
    await store.create(tenant, "docs", Settings(language="en"))
    return QualityStore(database)


async def test_a_change_is_told_once_and_ends(database: Database, quality: QualityStore) -> None:
    """More questions without an answer, about other things; the day after, it is over."""
    store = RetrievalStore(database)
    generation = (await store.find("acme", "docs")).generation
    await keep(database, quality, asks(generation, 120, topic=1, abstained=10), NOW - dt.timedelta(days=9))
    await keep(database, quality, asks(generation, 100, topic=1, abstained=8), NOW - dt.timedelta(hours=30))
    watch = CollectionsWatch(database, Alerts(database, AlertRules))
    await watch.look(NOW - dt.timedelta(hours=24))
    assert await open_alerts(database) == []
    await keep(
        database, quality, asks(generation, 80, topic=2, abstained=60, relevance=0.2), NOW - dt.timedelta(hours=3)
    )
    told = await QualityWatch(store, quality).of("acme", "docs", NOW)
    assert [change.split()[0] for change in told.changes] == ["Of", "The", "Other"]
    assert (told.now.asks, told.now.abstained, told.before.asks) == (80, 0.75, 220)
    assert told.chance == 0.001 and told.stability_index is not None and told.stability_index > 0.25
    assert told.gaps[0].questions == 60 and told.gaps[0].examples == ["About topic 2?"]
    for _ in range(2):
        await watch.look(NOW)
        assert await open_alerts(database) == [("retrieval_drift", "collection:docs")]
    await watch.look(NOW + dt.timedelta(days=2))
    assert await open_alerts(database) == []


async def test_nothing_is_said_of_few(database: Database, quality: QualityStore) -> None:
    """Forty asks a day, however unlike those before, show nothing."""
    store = RetrievalStore(database)
    generation = (await store.find("acme", "docs")).generation
    await keep(database, quality, asks(generation, 40, topic=1, abstained=0), NOW - dt.timedelta(days=3))
    await keep(database, quality, asks(generation, 40, topic=2, abstained=40), NOW - dt.timedelta(hours=3))
    told = await QualityWatch(store, quality).of("acme", "docs", NOW)
    assert told.changes == [] and told.chance is None and told.stability_index is None
