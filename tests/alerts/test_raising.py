"""Alerts are raised once, over all who find the same, and resolved once."""

import asyncio

import pytest
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Identifier

from backstay.alerts import AlertConfig, AlertRules, Alerts, ChannelConfig, Finding, Key
from backstay.store import Database

_LOOP = Key(kind="loop", subject="key:key_1")


def _finding(key: Key = _LOOP, title: str = "One key goes round in a circle") -> Finding:
    return Finding(key=key, severity="warning", title=title, details=("12 calls",), numbers={"spent_usd": "0.5"})


def _alerts(database: Database) -> Alerts:
    channels = {
        "ops": ChannelConfig(kind="email", to=["ops@example.org"]),
        "pager": ChannelConfig(kind="email", to=["pager@example.org"], resolved=False),
    }
    rules = AlertRules({"loops": AlertConfig(on=["loop"], channels=["ops", "pager"])}, channels)
    return Alerts(database, lambda: rules)


async def _deliveries(database: Database) -> list[tuple[str, str]]:
    async with database.system() as connection:
        rows = await (await connection.execute("select event, channel from alert_deliveries")).fetchall()
    return sorted((row["event"], row["channel"]) for row in rows)


async def test_one_of_many_raises(database: Database, database_url: str, tenant: str) -> None:
    """Of eight that raise the same alert at once over two pools, one makes it; each channel hears once."""
    other = Database(database_url)
    raisers = [_alerts(each) for each in (database, other)] * 4
    ids = await asyncio.gather(*(each.raise_alert(tenant, _finding()) for each in raisers))
    await other.close()
    assert len([alert_id for alert_id in ids if alert_id is not None]) == 1
    assert await _deliveries(database) == [("raised", "ops"), ("raised", "pager")]


async def test_it_is_over_once_and_may_come_again(database: Database, tenant: str) -> None:
    """An alert is resolved once, of which only who wants to know is told; after it, the same one is new again."""
    alerts = _alerts(database)
    first = await alerts.raise_alert(tenant, _finding())
    assert [await alerts.resolve(tenant, _LOOP, "It stopped.") for _ in range(2)] == [True, False]
    assert await _deliveries(database) == [("raised", "ops"), ("raised", "pager"), ("resolved", "ops")]
    again = await alerts.raise_alert(tenant, _finding())
    assert again not in (first, None)


async def test_settle_ends_what_is_not_found(database: Database, tenant: str) -> None:
    """What is found is raised, what is not is resolved, and another kind or tenant is left alone."""
    alerts = _alerts(database)
    two, three = Key(kind="loop", subject="key:key_2"), Key(kind="anomaly", subject="user:u1")
    assert len(await alerts.settle(tenant, "loop", [_finding(), _finding(two)], "-")) == 2
    await alerts.raise_alert(tenant, _finding(three))
    await alerts.raise_alert("default", _finding())
    assert await alerts.settle(tenant, "loop", [_finding(two)], "It stopped.") == []
    assert await alerts.open_keys(tenant, "loop") == {two}
    assert await alerts.open_keys(tenant, "anomaly") == {three}
    assert await alerts.open_keys("default", "loop") == {_LOOP}


@pytest.mark.parametrize("table", ["alerts", "alert_deliveries"])
async def test_tenants_see_their_own(database: Database, tenant: str, table: str) -> None:
    """Row-level security shows a tenant its own alerts alone, and lets it write none for another."""
    await _alerts(database).raise_alert(tenant, _finding())
    counts: list[int] = []
    for each in (tenant, "default"):
        async with database.tenant(each) as connection:
            row = await (
                await connection.execute(SQL("select count(*) as n from {}").format(Identifier(table)))
            ).fetchone()
            assert row is not None
            counts.append(row["n"])
    assert counts == [1 if table == "alerts" else 2, 0]
    with pytest.raises(InsufficientPrivilege, match="row-level security"):
        async with database.tenant("default") as connection:
            await connection.execute(
                "insert into alerts (tenant_id, alert_id, kind, subject, severity, title)"
                " values ('acme', 'a', 'loop', 's', 'info', 't')"
            )
