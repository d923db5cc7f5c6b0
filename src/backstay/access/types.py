"""Owns the nouns of access: keys, people, sessions, links, audit records, and what each role may do."""

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec

from backstay.access.checks import Email, Label, Name, RoutePath
from backstay.core.caller import Caller, Priority, Right

Role = Literal["admin", "editor", "reviewer", "viewer"]
"""``admin``: everything of the tenant; ``editor``: calls, keys; ``reviewer``: reads and decides; ``viewer``: reads."""

ROLE_RIGHTS: dict[Role, frozenset[str]] = {
    "admin": frozenset({"call", "read", "admin"}),
    "editor": frozenset({"call", "read"}),
    "reviewer": frozenset({"read"}),
    "viewer": frozenset({"read"}),
}

Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
"""A moment with its time zone; a naive one is refused."""


Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new key is to be."""

    name: Name
    rights: Annotated[tuple[Right, ...], msgspec.Meta(min_length=1, max_length=3)] = ("call", "read")
    models: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=100)] | None = None
    """Model names that may be used; ``None`` means all."""
    routes: Annotated[tuple[RoutePath, ...], msgspec.Meta(min_length=1, max_length=20)] | None = None
    """Wire paths that may be used; ``None`` means all."""
    feature: Label | None = None
    """Attribution of calls that name no feature."""
    tags: Annotated[tuple[Label, ...], msgspec.Meta(max_length=20)] = ()
    priority: Priority = "interactive"
    """Of calls that name none."""
    expires_at: Instant | None = None
    """``None``: never."""
    requests_per_min: Count | None = None
    """Over the policy's limit for keys; ``None``: that one."""
    tokens_per_min: Count | None = None
    concurrency: Count | None = None
    """Calls at once."""
    principals: Annotated[tuple[Name, ...], msgspec.Meta(max_length=1000)] | None = None
    """Whom it may search documents for; ``None``: anybody."""


KeyStatus = Literal["live", "expired", "revoked"]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is listed: everything but its secret."""

    id: str
    tenant: str
    prefix: str
    """How the key begins: enough to recognise it, not to use it."""
    name: str
    status: KeyStatus
    rights: tuple[Right, ...]
    models: tuple[str, ...] | None
    routes: tuple[str, ...] | None
    feature: str | None
    tags: tuple[str, ...]
    created_at: Instant
    created_by: str
    expires_at: Instant | None
    revoked_at: Instant | None
    replaced_by: str | None
    """Id of the key that a rotation put in this one's place."""
    priority: Priority = "interactive"
    requests_per_min: int | None = None
    """Its own limits; ``None``: those of the policy."""
    tokens_per_min: int | None = None
    concurrency: int | None = None
    principals: tuple[str, ...] | None = None
    """Whom it may search documents for; ``None``: anybody."""


class CreatedKey(Key, frozen=True, kw_only=True):
    """A key just made, with its text: this is the only time that it can be seen."""

    key: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a tenant."""

    id: str
    tenant: str
    email: str
    role: Role
    has_password: bool
    created_at: Instant
    disabled_at: Instant | None
    last_signed_in_at: Instant | None

    @property
    def caller(self) -> Caller:
        """The identity that this person acts under."""
        return Caller(
            tenant_id=self.tenant,
            kind="person",
            id=self.id,
            name=self.email,
            rights=ROLE_RIGHTS[self.role],
            role=self.role,
        )


class Invitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is to get an account, and what they may do."""

    email: Email
    role: Role = "viewer"


class LoginLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that signs one person in, once."""

    person: Person
    token: str
    url: str
    expires_at: Instant
    mailed: bool
    """Whether it was sent by mail too."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A person who is signed in, in one browser."""

    id: str
    person: Person
    csrf_token: str
    created_at: Instant
    expires_at: Instant
    user_agent: str


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session just begun, with the token for its cookie: kept nowhere else."""

    session: Session
    token: str


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One act, never changed once written."""

    id: int
    at: Instant
    actor: str
    """Who did it: ``person:per_…``, ``key:key_…`` or ``operator``."""
    action: str
    """What was done, such as ``key.create``."""
    subject: str
    """The id of what it was done to."""
    detail: dict[str, Any]
