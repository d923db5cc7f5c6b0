"""Owns the accounts of people: invitations, links, roles, and who is shut out."""

import msgspec

from backstay.access.checks import check
from backstay.access.mail import Mailer
from backstay.access.store import AccessStore, Row, Transaction, person_of
from backstay.access.tokens import KeyHasher, new_token
from backstay.access.types import Invitation, LoginLink, Person, Role
from backstay.core.caller import Caller
from backstay.core.errors import Conflict, Forbidden, NotFound
from backstay.core.ids import new_id
from backstay.store import Database

SIGN_IN_S = 15 * 60
INVITATION_S = 7 * 86_400


class People:
    """Invites people to a tenant and decides what they may do. Every act is in the audit log."""

    def __init__(
        self,
        database: Database,
        secret: bytes,
        *,
        public_url: str | None = None,
        mailer: Mailer | None = None,
    ):
        """Take ``public_url`` as the console's address in links; without it, links begin with what their asker says."""
        self._store = AccessStore(database)
        self._hasher = KeyHasher(secret)
        self._public_url = public_url
        self._mailer = mailer

    async def list(self, by: Caller) -> list[Person]:
        """List the tenant's people by mail address."""
        async with self._store.tenant(by.tenant_id) as sql:
            return [person_of(row) for row in await sql.all("list_people")]

    async def invite(self, by: Caller, email: str, role: Role, *, base_url: str = "") -> LoginLink:
        """Make an account and a link that signs in once, within 7 days. The link is mailed where mail is configured.

        Raises:
            InvalidRequest: The mail address or role is not valid.
            Conflict: That address has an account in the tenant already.
            Forbidden: The caller is not an admin.
        """
        _check_admin(by)
        invitation = check(Invitation(email=email.strip().lower(), role=role))
        await self._store.ensure_tenant(by)
        async with self._store.tenant(by.tenant_id) as sql:
            row = await self._add(sql, by, invitation)
            if row is None:
                raise Conflict(f"{invitation.email} has an account already. Make a link for it instead.")
            link = await self._link(sql, row, valid_s=INVITATION_S, base_url=base_url)
        return await self._mail(link, "You are invited to Backstay")

    async def link(self, by: Caller, person_id: str, *, base_url: str = "") -> LoginLink:
        """Make a link that signs a person in once, within 15 minutes. It is mailed where mail is configured.

        Raises:
            NotFound: The tenant has no such person.
            Conflict: The person is disabled.
            Forbidden: The caller is not an admin.
        """
        _check_admin(by)
        async with self._store.tenant(by.tenant_id) as sql:
            row = _found(await sql.one("find_person", person_id=person_id))
            if row["disabled_at"] is not None:
                raise Conflict("This person is disabled. Enable them first.")
            await sql.record(by, "person.link", person_id, email=row["email"])
            link = await self._link(sql, row, valid_s=SIGN_IN_S, base_url=base_url)
        return await self._mail(link, "Your link to Backstay")

    async def set_role(self, by: Caller, person_id: str, role: Role) -> Person:
        """Change what a person may do, at once. Raises as ``disable`` does."""
        _check_admin(by)
        async with self._store.tenant(by.tenant_id) as sql:
            await _check_admin_remains(sql, person_id, is_admin_after=role == "admin")
            row = _found(await sql.one("set_role", person_id=person_id, role=role))
            await sql.record(by, "person.role", person_id, email=row["email"], role=role)
        return person_of(row)

    async def disable(self, by: Caller, person_id: str) -> Person:
        """Shut a person out: their sessions and links end at once.

        Raises:
            NotFound: The tenant has no such person.
            Conflict: It is the tenant's last admin.
            Forbidden: The caller is not an admin.
        """
        _check_admin(by)
        async with self._store.tenant(by.tenant_id) as sql:
            await _check_admin_remains(sql, person_id, is_admin_after=False)
            row = _found(await sql.one("set_disabled", person_id=person_id, disabled=True))
            await sql.run("revoke_sessions", person_id=person_id, except_hash=b"")
            await sql.run("end_links", person_id=person_id)
            await sql.record(by, "person.disable", person_id, email=row["email"])
        return person_of(row)

    async def enable(self, by: Caller, person_id: str) -> Person:
        """Let a disabled person in again. Raises ``NotFound`` or ``Forbidden``."""
        _check_admin(by)
        async with self._store.tenant(by.tenant_id) as sql:
            row = _found(await sql.one("set_disabled", person_id=person_id, disabled=False))
            await sql.record(by, "person.enable", person_id, email=row["email"])
        return person_of(row)

    async def _add(self, sql: Transaction, by: Caller, invitation: Invitation) -> Row | None:
        email, role = invitation.email, invitation.role
        row = await sql.one("add_person", tenant_id=by.tenant_id, person_id=new_id("per"), email=email, role=role)
        if row is not None:
            await sql.record(by, "person.invite", row["person_id"], email=email, role=role)
        return row

    async def _link(self, sql: Transaction, person: Row, *, valid_s: int, base_url: str) -> LoginLink:
        token = new_token()
        row = await sql.one(
            "add_link",
            tenant_id=person["tenant_id"],
            token_hash=self._hasher.token("link", token),
            person_id=person["person_id"],
            valid_s=valid_s,
        )
        assert row is not None
        return LoginLink(
            person=person_of(person),
            token=token,
            url=f"{(self._public_url or base_url).rstrip('/')}/login?token={token}",
            expires_at=row["expires_at"],
            mailed=False,
        )

    async def _mail(self, link: LoginLink, subject: str) -> LoginLink:
        if self._mailer is None or link.url.startswith("/"):
            return link
        text = (
            f"Open this link to sign in to Backstay as {link.person.email}:\n\n{link.url}\n\n"
            f"It works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC. If you did not expect it, do nothing.\n"
        )
        return msgspec.structs.replace(link, mailed=await self._mailer.send(link.person.email, subject, text))


def _check_admin(by: Caller) -> None:
    if not by.may("admin"):
        raise Forbidden("Managing people needs the right or role `admin`.")


async def _check_admin_remains(sql: Transaction, person_id: str, *, is_admin_after: bool) -> None:
    """Keep a tenant from losing its last admin. The admins' rows stay locked until the transaction ends."""
    admins = {row["person_id"] for row in await sql.all("lock_admins")}
    if not is_admin_after and admins == {person_id}:
        raise Conflict("This is the tenant's last admin. Make somebody else admin first.")


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound("There is no such person in this tenant. `backstay people list` shows them.")
    return row
