"""The key ring finds callers in memory, follows changes, explains refusals to holders only, and outlives Postgres."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from backstay.access import KeyRing, Keys, NewKey
from backstay.access.tokens import new_key_text
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.errors import Overloaded, StoreUnavailable, Unauthenticated
from backstay.store import Database

HOUR_S = 3600


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most five seconds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 (nothing tells when another task has read a notification)
            await asyncio.sleep(0.01)


async def refusal(attempt: Awaitable[Caller]) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await attempt
    return caught.value.message


async def test_known_keys_are_found_without_asking(ring: KeyRing, keys: Keys, operator: Caller) -> None:
    """A ring that has started finds every live key in memory, with its rights and limits."""
    created = await keys.create(
        operator, NewKey(name="bot", models=("fast",), feature="search", tags=("a",), priority="batch")
    )
    await ring.start()
    assert ring.find(created.key) == Caller(
        tenant_id="acme",
        kind="key",
        id=created.id,
        name="bot",
        rights=frozenset({"call", "read"}),
        models=frozenset({"fast"}),
        feature="search",
        tags=("a",),
        priority="batch",
    )


async def test_a_new_key_arrives_by_notification(ring: KeyRing, keys: Keys, operator: Caller) -> None:
    """A key made after the start is in memory soon, without having been asked for."""
    await ring.start()
    created = await keys.create(operator, NewKey(name="late"))
    await eventually(lambda: ring.find(created.key) is not None)


async def test_a_key_works_at_once(ring: KeyRing, keys: Keys, operator: Caller) -> None:
    """A key works on a worker that has not heard of it yet."""
    created = await keys.create(operator, NewKey(name="new"))
    assert (await ring.authenticate(created.key)).id == created.id


async def test_a_revoked_key_stops_everywhere(ring: KeyRing, keys: Keys, operator: Caller) -> None:
    """A revocation reaches a running ring by notification, and its holder is told the day."""
    created = await keys.create(operator, NewKey(name="bot"))
    await ring.start()
    assert ring.find(created.key) is not None
    await keys.revoke(operator, created.id)
    await eventually(lambda: ring.find(created.key) is None)
    today = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")
    assert f"revoked on {today}" in await refusal(ring.authenticate(created.key))


async def test_an_expired_key_is_refused_by_the_clock(
    ring: KeyRing, keys: Keys, operator: Caller, advance: Callable[[float], None]
) -> None:
    """A key ends at its moment, without any notification, and its holder is told so."""
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    created = await keys.create(operator, NewKey(name="brief", expires_at=expires_at))
    await ring.start()
    assert ring.find(created.key) is not None
    advance(HOUR_S + 1)
    assert ring.find(created.key) is None
    assert "expired" in await refusal(ring.authenticate(created.key))


async def test_a_rotated_key_works_until_its_grace_ends(
    ring: KeyRing, keys: Keys, operator: Caller, advance: Callable[[float], None]
) -> None:
    """Old and new key work side by side for the grace time; then the old one's holder is told the new one's id."""
    old = await keys.create(operator, NewKey(name="bot"))
    new = await keys.rotate(operator, old.id, grace_s=HOUR_S)
    await ring.start()
    assert ring.find(old.key) is not None
    assert ring.find(new.key) is not None
    advance(HOUR_S + 1)
    assert new.id in await refusal(ring.authenticate(old.key))
    assert ring.find(new.key) is not None


async def test_only_the_holder_hears_what_became_of_a_key(ring: KeyRing, keys: Keys, operator: Caller) -> None:
    """Who knows the beginning of a revoked key, and not the rest, learns nothing about it."""
    created = await keys.create(operator, NewKey(name="bot"))
    await keys.revoke(operator, created.id)
    stranger = await refusal(ring.authenticate(new_key_text()))
    assert await refusal(ring.authenticate(created.prefix + "_" + "x" * 32)) == stranger
    assert "revoked" in await refusal(ring.authenticate(created.key))


@pytest.mark.parametrize("text", ["", "bs_", "sk-live-1", "bs_aaaaaaaaaa_" + "x" * 31, "bs_é" + "x" * 50, "\ud800"])
async def test_what_is_no_key_never_reaches_postgres(text: str, secret: bytes) -> None:
    """A text that cannot be a key is refused without a question to Postgres (here: one that is not there)."""
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    try:
        assert "not a Backstay key" in await refusal(KeyRing(away, secret, SystemClock()).authenticate(text))
    finally:
        await away.close()


async def test_unknown_keys_are_asked_for_once(ring: KeyRing, take_away: Callable[[], None]) -> None:
    """An unknown key costs one question; the same key again costs none, even with Postgres gone."""
    key = new_key_text()
    await refusal(ring.authenticate(key))
    take_away()
    await refusal(ring.authenticate(key))


async def test_a_flood_of_unknown_keys_is_turned_away_in_memory(ring: KeyRing) -> None:
    """After a hundred questions a whole ring answers by itself, and one that is not whole says: try again."""
    for _ in range(100):
        await refusal(ring.authenticate(new_key_text()))
    with pytest.raises(Overloaded) as caught:
        await ring.authenticate(new_key_text())
    assert not isinstance(caught.value, StoreUnavailable)
    await ring.start()
    for _ in range(200):
        await refusal(ring.authenticate(new_key_text()))


async def test_known_keys_work_while_postgres_is_away(
    ring: KeyRing, keys: Keys, operator: Caller, take_away: Callable[[], None]
) -> None:
    """With Postgres gone a known key works, and an unknown one is told that the answer is not known."""
    created = await keys.create(operator, NewKey(name="bot"))
    await ring.start()
    take_away()
    assert (await ring.authenticate(created.key)).id == created.id
    with pytest.raises(StoreUnavailable):
        await ring.authenticate(new_key_text())


async def test_what_was_missed_is_read_again(ring: KeyRing, keys: Keys, operator: Caller, database: Database) -> None:
    """A revocation whose notification was lost with its connection takes effect when listening begins again."""
    created = await keys.create(operator, NewKey(name="bot"))
    await ring.start()
    async with database.system() as connection:
        # Quietly, and the listening connection is cut.
        await connection.execute("update keys set revoked_at = now()")
    async with database.system() as connection:
        await connection.execute("reset role")
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    await eventually(lambda: ring.find(created.key) is None)


async def test_following_survives_an_unforeseen_error(
    ring: KeyRing, keys: Keys, operator: Caller, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After an error that nobody thought of (here: the table is gone for a while) revocations take effect again."""
    created = await keys.create(operator, NewKey(name="bot"))
    await ring.start()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("alter table keys rename to keys_elsewhere")
        await connection.execute("notify backstay_keys, 'bs_anything'")
        await eventually(lambda: "read again" in caplog.text)
        await connection.execute("update keys_elsewhere set revoked_at = now()")
        await connection.execute("alter table keys_elsewhere rename to keys")
    await eventually(lambda: ring.find(created.key) is None)


async def test_a_ring_that_is_full_asks_for_the_rest(
    ring: KeyRing, keys: Keys, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are more keys than memory takes, the others are looked up and work as well."""
    monkeypatch.setattr("backstay.access.keyring._MOST_PRELOADED", 2)
    made = [await keys.create(operator, NewKey(name=f"key {n}")) for n in range(5)]
    await ring.start()
    assert sum(ring.find(key.key) is not None for key in made) == 2
    assert [(await ring.authenticate(key.key)).id for key in made] == [key.id for key in made]
