"""Keys are made, listed, revoked and rotated; nobody hands out more than they have; every act is written down."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from backstay.access import AuditLog, Keys, NewKey
from backstay.access.types import Role
from backstay.core.caller import Caller
from backstay.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from backstay.store import Database


async def test_a_key_is_shown_once_and_stored_hashed(keys: Keys, operator: Caller, database: Database) -> None:
    """The text of a key is in no column of its row, nor is its secret half."""
    created = await keys.create(operator, NewKey(name="checkout"))
    async with database.system() as connection:
        cursor = await connection.execute("select k::text as row from keys k")
        rows = [row["row"] for row in await cursor.fetchall()]
    assert len(rows) == 1
    assert created.key.rpartition("_")[2] not in rows[0]
    assert created.prefix in rows[0]


async def test_a_key_has_what_was_asked_for(keys: Keys, operator: Caller) -> None:
    """All that a key was made with is listed, and it may call and read by default."""
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    asked = NewKey(
        name="bot",
        models=("fast", "local"),
        routes=("/v1/messages",),
        feature="search",
        tags=("a", "b"),
        priority="batch",
        expires_at=expires_at,
    )
    created = await keys.create(operator, asked)
    (listed,) = await keys.list(operator)
    assert listed.id == created.id
    assert (listed.name, listed.rights, listed.models, listed.routes) == (
        "bot",
        ("call", "read"),
        ("fast", "local"),
        ("/v1/messages",),
    )
    assert (listed.feature, listed.tags, listed.expires_at) == ("search", ("a", "b"), expires_at)
    assert (listed.status, listed.tenant, listed.created_by) == ("live", "acme", "operator")
    assert (listed.priority, (await keys.rotate(operator, listed.id)).priority) == ("batch", "batch")


async def test_a_tenant_is_made_on_the_way(keys: Keys, operator: Caller, audit: AuditLog) -> None:
    """The operator's first key for a new tenant makes the tenant, and both are in the audit log."""
    await keys.create(operator, NewKey(name="first"))
    assert [record.action for record in await audit.list(operator)] == ["key.create", "tenant.create"]


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": "two\nlines"}, "name"),
    ({"name": "ends\n"}, "name"),
    ({"name": "nul\0"}, "name"),
    ({"name": "ok", "rights": ()}, "rights"),
    ({"name": "ok", "rights": ("own",)}, "rights[0]"),
    ({"name": "ok", "models": ()}, "models"),
    ({"name": "ok", "models": ("a\x1b",)}, "models[0]"),
    ({"name": "ok", "routes": ("chat",)}, "routes[0]"),
    ({"name": "ok", "feature": " x"}, "feature"),
    ({"name": "ok", "tags": tuple(str(n) for n in range(21))}, "tags"),
    ({"name": "ok", "expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "expires_at"),
    ({"name": "ok", "expires_at": dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.UTC)}, "expires_at"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_KEYS, ids=str)
async def test_bad_fields_are_named(keys: Keys, operator: Caller, fields: dict[str, Any], param: str) -> None:
    """A field that is not as it must be is refused by its name, and nothing is made."""
    with pytest.raises(InvalidRequest) as caught:
        await keys.create(operator, NewKey(**fields))
    assert caught.value.param == param
    assert "regex" not in caught.value.message
    assert await keys.list(operator) == []


async def test_a_tenant_name_is_checked(keys: Keys, operator: Caller) -> None:
    """A name that cannot be a tenant's is refused before anything is written."""
    stranger = Caller(tenant_id="No Such!", kind="operator", id="operator", name="operator", rights=operator.rights)
    with pytest.raises(InvalidRequest) as caught:
        await keys.create(stranger, NewKey(name="ok"))
    assert caught.value.param == "x-backstay-tenant"


async def test_to_revoke_again_changes_nothing(keys: Keys, operator: Caller, audit: AuditLog) -> None:
    """A key is revoked once: the second time keeps the first moment and leaves no second record."""
    created = await keys.create(operator, NewKey(name="old"))
    first = await keys.revoke(operator, created.id)
    second = await keys.revoke(operator, created.id)
    assert first.status == "revoked"
    assert first.revoked_at == second.revoked_at
    assert [record.action for record in await audit.list(operator)].count("key.revoke") == 1


async def test_rotation_keeps_everything_but_the_text(keys: Keys, operator: Caller) -> None:
    """The new key has the old one's name, rights and limits; the old one ends after the grace time."""
    old = await keys.create(operator, NewKey(name="bot", models=("fast",), feature="search", tags=("a",)))
    new = await keys.rotate(operator, old.id, grace_s=60)
    listed = {key.id: key for key in await keys.list(operator)}
    assert (new.name, new.rights, new.models, new.feature, new.tags) == ("bot", old.rights, ("fast",), "search", ("a",))
    assert new.key != old.key
    assert listed[old.id].replaced_by == new.id
    ends_at = listed[old.id].expires_at
    assert ends_at is not None
    assert 50 < (ends_at - dt.datetime.now(dt.UTC)).total_seconds() <= 60


async def test_a_key_is_rotated_only_once(keys: Keys, operator: Caller) -> None:
    """A replaced or revoked key is not rotated again; the message says what it is."""
    old = await keys.create(operator, NewKey(name="bot"))
    new = await keys.rotate(operator, old.id)
    with pytest.raises(Conflict, match=new.id):
        await keys.rotate(operator, old.id)
    await keys.revoke(operator, new.id)
    with pytest.raises(Conflict, match="revoked"):
        await keys.rotate(operator, new.id)


async def test_grace_does_not_lengthen_a_life(keys: Keys, operator: Caller) -> None:
    """A key that would end sooner than its grace time ends when it would have."""
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    old = await keys.create(operator, NewKey(name="brief", expires_at=expires_at))
    await keys.rotate(operator, old.id, grace_s=86_400)
    listed = {key.id: key for key in await keys.list(operator)}
    assert listed[old.id].expires_at == expires_at


async def test_another_tenants_key_is_not_found(keys: Keys, operator: Caller) -> None:
    """No act reaches a key of another tenant, whatever its id, and no list shows it."""
    created = await keys.create(operator, NewKey(name="ours"))
    other = Caller(tenant_id="default", kind="operator", id="operator", name="operator", rights=operator.rights)
    assert await keys.list(other) == []
    with pytest.raises(NotFound):
        await keys.revoke(other, created.id)
    with pytest.raises(NotFound):
        await keys.rotate(other, created.id)


async def test_nobody_hands_out_more_than_they_have(
    keys: Keys, operator: Caller, as_role: Callable[[Role], Caller]
) -> None:
    """An editor makes keys that call and read, and neither makes, takes over nor ends an admin key."""
    admin_key = await keys.create(operator, NewKey(name="root", rights=("admin",)))
    editor = as_role("editor")
    made = await keys.create(editor, NewKey(name="mine"))
    assert made.created_by == "person:per_editor"
    with pytest.raises(Forbidden):
        await keys.create(editor, NewKey(name="more", rights=("admin",)))
    with pytest.raises(Forbidden):
        await keys.rotate(editor, admin_key.id)
    with pytest.raises(Forbidden):
        await keys.revoke(editor, admin_key.id)


@pytest.mark.parametrize("role", ["reviewer", "viewer"])
async def test_readers_do_not_manage_keys(
    keys: Keys, tenant: str, as_role: Callable[[Role], Caller], role: Role
) -> None:
    """A reviewer or viewer makes no keys."""
    with pytest.raises(Forbidden):
        await keys.create(as_role(role), NewKey(name="x", rights=("read",)))


async def test_lists_go_on_where_they_stopped(keys: Keys, operator: Caller) -> None:
    """A list is read page by page, the newest first, without gaps or repeats."""
    made = [(await keys.create(operator, NewKey(name=f"key {n}"))).id for n in range(5)]
    first = await keys.list(operator, limit=3)
    rest = await keys.list(operator, limit=3, before=first[-1].id)
    assert {key.id for key in (*first, *rest)} == set(made)
    assert len(first) + len(rest) == 5
