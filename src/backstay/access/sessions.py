"""Owns signing in and out: links used once, passwords, and the sessions on the server's side."""

import asyncio

from backstay.access.labels import clean_label
from backstay.access.store import AccessStore, Row, Transaction, person_of, session_of
from backstay.access.throttle import Throttle
from backstay.access.tokens import KeyHasher, hash_password, new_token, verify_password
from backstay.access.types import Session, SignedIn
from backstay.core.caller import Caller
from backstay.core.clock import Clock
from backstay.core.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from backstay.store import Database

SESSION_S = 14 * 86_400
_WINDOW_S = 15 * 60.0
_TRIES_PER_EMAIL = 8
_TRIES_PER_ADDRESS = 40
_SHORTEST_PASSWORD = 12
_LONGEST_PASSWORD = 1_000
_PASSWORD_CHECKS_AT_ONCE = 2
"""Each takes 32 MiB and a core for about a third of a second."""


class Sessions:
    """Signs people in, finds them by their cookie's token, and ends sessions."""

    def __init__(self, database: Database, secret: bytes, clock: Clock):
        self._store = AccessStore(database)
        self._hasher = KeyHasher(secret)
        self._by_email = Throttle(_TRIES_PER_EMAIL, _WINDOW_S, clock)
        self._by_address = Throttle(_TRIES_PER_ADDRESS, _WINDOW_S, clock)
        self._password_checks = asyncio.Semaphore(_PASSWORD_CHECKS_AT_ONCE)

    async def sign_in_by_link(self, token: str, *, user_agent: str = "") -> SignedIn:
        """Use up a link and begin a session.

        Raises:
            Unauthenticated: The link is used, expired or not whole, or its person is disabled.
        """
        async with self._store.system() as sql:
            row = await sql.one("use_link", token_hash=self._hasher.token("link", token))
            if row is None:
                raise Unauthenticated(
                    "This link does not work (any more): links work once, and for a short time. Ask an admin for a new "
                    "one, or run `backstay login` on the server."
                )
            return await self._begin(sql, row, how="link", user_agent=user_agent)

    async def sign_in_by_password(self, email: str, password: str, *, address: str, user_agent: str = "") -> SignedIn:
        """Check mail address and password and begin a session. It takes as long for an unknown address.

        Raises:
            Unauthenticated: They do not fit, or the person has no password or is disabled.
            TooManyTries: There were too many tries for that mail address, or from that network address.
        """
        email = email.strip().lower()
        self._by_address.take(address)
        self._by_email.take(email)
        async with self._store.system() as sql:
            candidates = await sql.all("people_by_email", email=email)
        for row in candidates or [None]:
            if await self._fits(password, row):
                break
        else:
            row = None
        async with self._store.system() as sql:
            if row is None:
                for known in candidates:
                    await sql.record(person_of(known).caller, "session.refuse", known["person_id"], email=email)
            else:
                self._by_email.forget(email)
                return await self._begin(sql, row, how="password", user_agent=user_agent)
        raise Unauthenticated("Mail address and password do not fit. Try again, or ask an admin for a link.")

    async def find(self, token: str) -> Session | None:
        """Find the session of a cookie's token; ``None`` when it is unknown, ended, or its person disabled."""
        async with self._store.system() as sql:
            row = await sql.one("find_session", token_hash=self._hasher.token("session", token))
        return None if row is None else session_of(row)

    async def list(self, by: Caller, *, person_id: str | None = None) -> list[Session]:
        """List open sessions of the tenant (500 at most) or of one person, the newest first."""
        _check_own_or_admin(by, person_id)
        async with self._store.tenant(by.tenant_id) as sql:
            return [session_of(row) for row in await sql.all("list_sessions", person_id=person_id)]

    async def end(self, by: Caller, session_id: str) -> None:
        """End a session: one's own by signing out, or another's as an admin.

        Raises:
            NotFound: The tenant has no such open session.
            Forbidden: It is another's and the caller is not an admin.
        """
        async with self._store.tenant(by.tenant_id) as sql:
            row = await sql.one("revoke_session", token_hash=_hash_of(session_id))
            if row is None:
                raise NotFound("There is no such open session.")
            _check_own_or_admin(by, row["person_id"])
            await sql.record(by, "session.end", row["person_id"])

    async def end_all(self, by: Caller, person_id: str) -> int:
        """End every session of a person, and return how many there were.

        Raises:
            NotFound: The tenant has no such person.
            Forbidden: It is another, and the caller is not an admin.
        """
        _check_own_or_admin(by, person_id)
        async with self._store.tenant(by.tenant_id) as sql:
            if await sql.one("find_person", person_id=person_id) is None:
                raise NotFound("There is no such person in this tenant.")
            ended = await sql.run("revoke_sessions", person_id=person_id, except_hash=b"")
            await sql.record(by, "session.end_all", person_id, sessions=ended)
        return ended

    async def set_password(self, session: Session, password: str) -> None:
        """Set one's own password. All of one's other sessions end.

        Raises:
            InvalidRequest: It is shorter than 12 characters, or longer than 1,000.
        """
        if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise InvalidRequest("A password must have at least 12 characters (and at most 1,000).", param="password")
        async with self._password_checks:
            password_hash = await asyncio.to_thread(hash_password, password)
        person = session.person
        async with self._store.tenant(person.tenant) as sql:
            await sql.run("set_password", person_id=person.id, password_hash=password_hash)
            await sql.run("revoke_sessions", person_id=person.id, except_hash=_hash_of(session.id))
            await sql.record(person.caller, "person.password", person.id)

    async def _fits(self, password: str, row: Row | None) -> bool:
        stored = None if row is None else row["password_hash"]
        async with self._password_checks:
            return await asyncio.to_thread(verify_password, password[: _LONGEST_PASSWORD + 1], stored)

    async def _begin(self, sql: Transaction, person: Row, *, how: str, user_agent: str) -> SignedIn:
        token = new_token()
        token_hash = self._hasher.token("session", token)
        await sql.run(
            "add_session",
            tenant_id=person["tenant_id"],
            token_hash=token_hash,
            person_id=person["person_id"],
            csrf_token=new_token(),
            valid_s=SESSION_S,
            user_agent=clean_label(user_agent),
        )
        row = await sql.one("find_session", token_hash=token_hash)
        if row is None:
            raise Unauthenticated("This person was disabled just now. Ask an admin of the tenant.")
        session = session_of(row)
        await sql.record(session.person.caller, "session.begin", session.person.id, how=how)
        return SignedIn(session=session, token=token)


def _check_own_or_admin(by: Caller, person_id: str | None) -> None:
    if not (by.may("admin") or (by.kind == "person" and by.id == person_id)):
        raise Forbidden("Another's sessions are an admin's to see and end.")


def _hash_of(session_id: str) -> bytes:
    try:
        return bytes.fromhex(session_id)
    except ValueError:
        raise NotFound("There is no such open session.") from None
