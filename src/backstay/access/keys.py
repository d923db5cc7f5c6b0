"""Owns the life of keys: create, list, revoke, rotate."""

import datetime as dt

import msgspec

from backstay.access.checks import check
from backstay.access.store import AccessStore, Row, Transaction, actor, key_of
from backstay.access.tokens import KeyHasher, key_prefix, new_key_text
from backstay.access.types import CreatedKey, Key, NewKey
from backstay.core.caller import Caller
from backstay.core.clock import Clock
from backstay.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from backstay.core.ids import new_id
from backstay.store import Database

DAY_S = 86_400
_LONGEST_LIFE = dt.timedelta(days=36_525)


class Keys:
    """Makes and ends the keys of a tenant. Every act is in the audit log, in the same transaction."""

    def __init__(self, database: Database, secret: bytes, clock: Clock):
        self._store = AccessStore(database)
        self._hasher = KeyHasher(secret)
        self._clock = clock

    async def create(self, by: Caller, new: NewKey) -> CreatedKey:
        """Make a key in the caller's tenant; an operator's tenant is made on the way.

        Raises:
            InvalidRequest: A field is not as it must be; ``param`` names it.
            Forbidden: The caller may not manage keys, or not grant these rights.
            StoreUnavailable: Postgres does not answer. Nothing is made.
        """
        new = check(new)
        self._check_expiry(new.expires_at)
        _check_may_manage(by, new.rights)
        await self._store.ensure_tenant(by)
        async with self._store.tenant(by.tenant_id) as sql:
            created = await self._add(sql, by, new)
            await sql.record(by, "key.create", created.id, name=new.name, rights=created.rights)
        return created

    async def list(self, by: Caller, *, limit: int = 1000, before: str | None = None) -> list[Key]:
        """List the tenant's keys, the newest first; ``before`` is the id of the last one seen."""
        async with self._store.tenant(by.tenant_id) as sql:
            rows = await sql.all("list_keys", limit=limit, before=before)
        return [key_of(row, self._now()) for row in rows]

    async def revoke(self, by: Caller, key_id: str) -> Key:
        """End a key at once, on every worker. To revoke it again changes nothing.

        Raises:
            NotFound: The tenant has no such key.
            Forbidden: The caller may not manage keys, or this key has more rights than the caller.
        """
        async with self._store.tenant(by.tenant_id) as sql:
            row = await self._lock(sql, by, key_id)
            if row["revoked_at"] is None:
                row = await sql.one("revoke_key", key_id=key_id) or row
                await sql.record(by, "key.revoke", key_id, name=row["name"])
                await sql.run("notify_keys", prefix=row["prefix"])
        return key_of(row, self._now())

    async def rotate(self, by: Caller, key_id: str, *, grace_s: int = DAY_S) -> CreatedKey:
        """Make a key with the same name, rights and expiry; the old one stays valid for ``grace_s`` seconds.

        Raises:
            NotFound: The tenant has no such key.
            Conflict: It is revoked, expired or replaced already.
            Forbidden: The caller may not manage keys, or this key has more rights than the caller.
        """
        async with self._store.tenant(by.tenant_id) as sql:
            row = await self._lock(sql, by, key_id)
            old = key_of(row, self._now())
            if old.status != "live" or old.replaced_by:
                state = f"replaced by {old.replaced_by}" if old.replaced_by else old.status
                raise Conflict(f"This key is {state} already. Create a new one with `backstay keys create`.")
            created = await self._add(sql, by, _same(old))
            await sql.run("replace_key", key_id=key_id, replaced_by=created.id, grace_s=grace_s)
            await sql.record(by, "key.rotate", key_id, name=old.name, replaced_by=created.id, grace_s=grace_s)
            await sql.run("notify_keys", prefix=old.prefix)
        return created

    async def _add(self, sql: Transaction, by: Caller, new: NewKey) -> CreatedKey:
        text = new_key_text()
        row = await sql.one(
            "add_key",
            tenant_id=by.tenant_id,
            key_id=new_id("key"),
            prefix=key_prefix(text),
            secret_hash=self._hasher.key(text),
            name=new.name,
            rights=list(dict.fromkeys(new.rights)),
            models=new.models and list(new.models),
            routes=new.routes and list(new.routes),
            feature=new.feature,
            tags=list(new.tags),
            priority=new.priority,
            created_by=actor(by),
            expires_at=new.expires_at,
            requests_per_min=new.requests_per_min,
            tokens_per_min=new.tokens_per_min,
            concurrency=new.concurrency,
            principals=None if new.principals is None else list(new.principals),
        )
        assert row is not None
        await sql.run("notify_keys", prefix=row["prefix"])
        key = key_of(row, self._now())
        return CreatedKey(key=text, **msgspec.structs.asdict(key))

    async def _lock(self, sql: Transaction, by: Caller, key_id: str) -> Row:
        row = await sql.one("lock_key", key_id=key_id)
        if row is None:
            raise NotFound(f"There is no key {key_id} in tenant {by.tenant_id}. `backstay keys list` shows them.")
        _check_may_manage(by, tuple(row["rights"]))
        return row

    def _check_expiry(self, expires_at: dt.datetime | None) -> None:
        now = self._now()
        if expires_at is not None and not now < expires_at <= now + _LONGEST_LIFE:
            raise InvalidRequest(
                "`expires_at` must lie in the future, within 100 years. Leave it out for a key without end.",
                param="expires_at",
            )

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock.now_ns() / 1e9, dt.UTC)


def _check_may_manage(by: Caller, rights: tuple[str, ...]) -> None:
    """Nobody hands out, takes over or ends more than they have."""
    if not (by.may("admin") or by.role == "editor"):
        raise Forbidden("Managing keys needs the right `admin`, or the role editor or admin.")
    if not by.may("admin") and not by.rights.issuperset(rights):
        raise Forbidden("This key has rights that you do not have. Ask an admin of the tenant.")


def _same(old: Key) -> NewKey:
    return NewKey(
        name=old.name,
        rights=old.rights,
        models=old.models,
        routes=old.routes,
        feature=old.feature,
        tags=old.tags,
        priority=old.priority,
        expires_at=old.expires_at,
        requests_per_min=old.requests_per_min,
        tokens_per_min=old.tokens_per_min,
        concurrency=old.concurrency,
        principals=old.principals,
    )
