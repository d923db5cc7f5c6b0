"""People are invited, sign in by links that work once or by passwords, and are shut out at once."""

import asyncio
import datetime as dt
from collections.abc import Callable

import pytest

from backstay.access import AuditLog, People, Sessions
from backstay.access.throttle import TooManyTries
from backstay.access.types import LoginLink, Role
from backstay.core.caller import Caller
from backstay.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthenticated
from backstay.store import Database

PASSWORD = "correct horse battery"


@pytest.fixture
async def ada(people: People, operator: Caller) -> LoginLink:
    """An admin, invited."""
    return await people.invite(operator, "ada@example.com", "admin")


async def test_a_link_signs_in_once(sessions: Sessions, ada: LoginLink) -> None:
    """An invitation's link begins a session of its person; a second use is refused."""
    signed_in = await sessions.sign_in_by_link(ada.token, user_agent="Firefox")
    found = await sessions.find(signed_in.token)
    assert found == signed_in.session
    assert found is not None
    assert (found.person.email, found.person.role, found.user_agent) == ("ada@example.com", "admin", "Firefox")
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_by_link(ada.token)


async def test_a_link_is_used_up_by_one_of_many(sessions: Sessions, ada: LoginLink) -> None:
    """Of many at the same moment with the same link exactly one is signed in."""
    tries = (sessions.sign_in_by_link(ada.token) for _ in range(8))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, Unauthenticated) for result in results) == 7


async def test_links_say_where_and_until_when(people: People, operator: Caller, ada: LoginLink) -> None:
    """An invitation lives seven days, a sign-in link fifteen minutes, both at the console's public address."""
    link = await people.link(operator, ada.person.id)
    now = dt.datetime.now(dt.UTC)
    assert ada.url == f"https://backstay.example/login?token={ada.token}"
    assert dt.timedelta(days=6, hours=23) < ada.expires_at - now <= dt.timedelta(days=7)
    assert dt.timedelta(minutes=14) < link.expires_at - now <= dt.timedelta(minutes=15)


async def test_an_expired_link_is_refused(sessions: Sessions, ada: LoginLink, database: Database) -> None:
    """After its time a link signs nobody in."""
    async with database.system() as connection:
        await connection.execute("update login_links set expires_at = now()")
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_by_link(ada.token)


async def test_tokens_are_stored_hashed(sessions: Sessions, ada: LoginLink, database: Database) -> None:
    """Neither a link's nor a session's token is in the database, and one is no good as the other."""
    link = ada.token
    assert await sessions.find(link) is None
    signed_in = await sessions.sign_in_by_link(link)
    async with database.system() as connection:
        cursor = await connection.execute("select l::text || s::text as text from login_links l, sessions s")
        texts = [row["text"] for row in await cursor.fetchall()]
    assert len(texts) == 1
    assert link not in texts[0]
    assert signed_in.token not in texts[0]


async def test_an_address_has_one_account(people: People, operator: Caller, ada: LoginLink) -> None:
    """To invite somebody twice, in whatever case, is a conflict."""
    with pytest.raises(Conflict, match=r"ada@example\.com"):
        await people.invite(operator, " ADA@example.com ", "viewer")


@pytest.mark.parametrize("email", ["", "ada", "a@b\n", "a@b\nBcc: c@d", "a b@c", "é@example.com", "a@" + "b" * 300])
async def test_bad_addresses_are_refused(people: People, operator: Caller, email: str) -> None:
    """What is not a mail address is refused by its field; blanks and line ends around one are forgiven."""
    if email.strip() == "a@b":
        assert (await people.invite(operator, email, "viewer")).person.email == "a@b"
        return
    with pytest.raises(InvalidRequest) as caught:
        await people.invite(operator, email, "viewer")
    assert caught.value.param == "email"


@pytest.mark.parametrize("role", ["editor", "reviewer", "viewer"])
async def test_only_admins_manage_people(
    people: People, ada: LoginLink, as_role: Callable[[Role], Caller], role: Role
) -> None:
    """Nobody below admin invites, links, changes or disables."""
    by, person_id = as_role(role), ada.person.id
    for act in (
        people.invite(by, "eve@example.com", "admin"),
        people.link(by, person_id),
        people.set_role(by, person_id, "viewer"),
        people.disable(by, person_id),
        people.enable(by, person_id),
    ):
        with pytest.raises(Forbidden):
            await act


async def test_disabling_ends_everything_at_once(
    people: People, sessions: Sessions, operator: Caller, ada: LoginLink
) -> None:
    """A disabled person's sessions and links end, and no new link is made until they are enabled."""
    bob = await people.invite(operator, "bob@example.com", "editor")
    signed_in = await sessions.sign_in_by_link(bob.token)
    unused = await people.link(operator, bob.person.id)
    await people.disable(operator, bob.person.id)
    assert await sessions.find(signed_in.token) is None
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_by_link(unused.token)
    with pytest.raises(Conflict):
        await people.link(operator, bob.person.id)
    await people.enable(operator, bob.person.id)
    assert await sessions.find(signed_in.token) is None
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_by_link(unused.token)


async def test_a_tenant_keeps_an_admin(people: People, operator: Caller, ada: LoginLink) -> None:
    """The last admin is neither disabled nor made less; of two, at the same moment, one remains."""
    with pytest.raises(Conflict):
        await people.disable(operator, ada.person.id)
    with pytest.raises(Conflict):
        await people.set_role(operator, ada.person.id, "viewer")
    bob = await people.invite(operator, "bob@example.com", "admin")
    results = await asyncio.gather(
        people.disable(operator, ada.person.id),
        people.set_role(operator, bob.person.id, "viewer"),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Person"]


async def test_a_changed_role_holds_in_open_sessions(
    people: People, sessions: Sessions, operator: Caller, ada: LoginLink
) -> None:
    """A session has the rights that its person has now."""
    bob = await people.invite(operator, "bob@example.com", "admin")
    token = (await sessions.sign_in_by_link(bob.token)).token
    await people.set_role(operator, bob.person.id, "viewer")
    session = await sessions.find(token)
    assert session is not None
    assert session.person.caller.rights == {"read"}


async def test_passwords_sign_in(sessions: Sessions, ada: LoginLink) -> None:
    """With mail address and password a person signs in; a wrong one does not, and sounds as an unknown address."""
    session = (await sessions.sign_in_by_link(ada.token)).session
    await sessions.set_password(session, PASSWORD)
    signed_in = await sessions.sign_in_by_password("Ada@example.com ", PASSWORD, address="127.0.0.1")
    assert signed_in.session.person.id == ada.person.id
    with pytest.raises(Unauthenticated) as wrong:
        await sessions.sign_in_by_password("ada@example.com", PASSWORD + "!", address="127.0.0.1")
    with pytest.raises(Unauthenticated) as unknown:
        await sessions.sign_in_by_password("nobody@example.com", PASSWORD, address="127.0.0.1")
    assert wrong.value.message == unknown.value.message


async def test_a_new_password_ends_other_sessions(people: People, sessions: Sessions, operator: Caller) -> None:
    """Setting a password keeps the session it was set in and ends one's others."""
    ada = await people.invite(operator, "ada@example.com", "admin")
    here = await sessions.sign_in_by_link(ada.token)
    elsewhere = await sessions.sign_in_by_link((await people.link(operator, ada.person.id)).token)
    await sessions.set_password(here.session, PASSWORD)
    assert await sessions.find(here.token) is not None
    assert await sessions.find(elsewhere.token) is None


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 1001])
async def test_short_passwords_are_refused(sessions: Sessions, ada: LoginLink, password: str) -> None:
    """A password has 12 characters at least."""
    session = (await sessions.sign_in_by_link(ada.token)).session
    with pytest.raises(InvalidRequest):
        await sessions.set_password(session, password)


async def test_guessing_is_throttled(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, advance: Callable[[float], None]
) -> None:
    """After eight tries for a mail address the ninth is refused unseen, with the time to wait; then it may go on."""
    monkeypatch.setattr("backstay.access.tokens._SCRYPT_N", 2)
    for _ in range(8):
        with pytest.raises(Unauthenticated):
            await sessions.sign_in_by_password("a@b", PASSWORD, address="127.0.0.1")
    with pytest.raises(TooManyTries) as caught:
        await sessions.sign_in_by_password("a@b", PASSWORD, address="127.0.0.2")
    assert caught.value.retry_after_s is not None
    advance(caught.value.retry_after_s)
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_by_password("a@b", PASSWORD, address="127.0.0.1")


async def test_an_address_cannot_try_many_names(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty tries from one network address are enough, whatever the names."""
    monkeypatch.setattr("backstay.access.tokens._SCRYPT_N", 2)
    for number in range(40):
        with pytest.raises(Unauthenticated):
            await sessions.sign_in_by_password(f"a{number}@b", PASSWORD, address="127.0.0.1")
    with pytest.raises(TooManyTries):
        await sessions.sign_in_by_password("other@b", PASSWORD, address="127.0.0.1")


async def test_sessions_are_listed_and_ended(
    people: People, sessions: Sessions, operator: Caller, as_role: Callable[[Role], Caller]
) -> None:
    """One ends one's own sessions, an admin anyone's, and nobody else another's."""
    ada = await people.invite(operator, "ada@example.com", "viewer")
    first = await sessions.sign_in_by_link(ada.token)
    second = await sessions.sign_in_by_link((await people.link(operator, ada.person.id)).token)
    me = first.session.person.caller
    assert [session.id for session in await sessions.list(me, person_id=me.id)] == [second.session.id, first.session.id]
    with pytest.raises(Forbidden):
        await sessions.list(me)
    with pytest.raises(Forbidden):
        await sessions.end(as_role("editor"), first.session.id)
    assert await sessions.find(first.token) is not None
    await sessions.end(me, first.session.id)
    await sessions.end(operator, second.session.id)
    assert await sessions.list(operator) == []
    for gone in (first.session.id, "not hex", ""):
        with pytest.raises(NotFound):
            await sessions.end(operator, gone)


async def test_an_expired_session_is_gone(sessions: Sessions, ada: LoginLink, database: Database) -> None:
    """A session ends by itself, fourteen days after it began."""
    signed_in = await sessions.sign_in_by_link(ada.token)
    assert signed_in.session.expires_at - signed_in.session.created_at == dt.timedelta(days=14)
    async with database.system() as connection:
        await connection.execute("update sessions set expires_at = now()")
    assert await sessions.find(signed_in.token) is None


async def test_every_act_is_written_down(
    people: People, sessions: Sessions, operator: Caller, audit: AuditLog, ada: LoginLink
) -> None:
    """Each act leaves one record with who, what and whom; an act that failed leaves none, but for a wrong password."""
    signed_in = await sessions.sign_in_by_link(ada.token)
    me = signed_in.session.person.caller
    await sessions.set_password(signed_in.session, PASSWORD)
    with pytest.raises(Unauthenticated):
        await sessions.sign_in_by_password("ada@example.com", "wrong", address="127.0.0.1")
    with pytest.raises(Conflict):
        await people.disable(me, me.id)
    bob = await people.invite(me, "bob@example.com", "viewer")
    await people.disable(me, bob.person.id)
    records = await audit.list(operator)
    assert [(record.action, record.actor) for record in reversed(records)] == [
        ("tenant.create", "operator"),
        ("person.invite", "operator"),
        ("session.begin", f"person:{me.id}"),
        ("person.password", f"person:{me.id}"),
        ("session.refuse", f"person:{me.id}"),
        ("person.invite", f"person:{me.id}"),
        ("person.disable", f"person:{me.id}"),
    ]
    assert records[0].subject == bob.person.id
    assert records[0].detail == {"by": "ada@example.com", "email": "bob@example.com"}


async def test_the_audit_log_cannot_be_changed(ada: LoginLink, database: Database) -> None:
    """Not even the roles that write the log may change or remove a record."""
    for transaction in (database.tenant("acme"), database.system()):
        with pytest.raises(Exception, match="permission denied"):
            async with transaction as connection:
                await connection.execute("update audit_log set actor = 'nobody'")


async def test_audit_pages(people: People, operator: Caller, audit: AuditLog, ada: LoginLink) -> None:
    """The log is read page by page and filtered by act and subject; another tenant sees none of it."""
    (newest,) = await audit.list(operator, limit=1)
    older = await audit.list(operator, before=newest.id)
    assert (newest.action, [record.action for record in older]) == ("person.invite", ["tenant.create"])
    assert await audit.list(operator, action="tenant.create") == older
    assert await audit.list(operator, subject=ada.person.id) == [newest]
    other = Caller(tenant_id="default", kind="operator", id="operator", name="operator", rights=operator.rights)
    assert await audit.list(other) == []
    assert await people.list(other) == []
