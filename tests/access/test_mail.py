"""Invitations are mailed through a real SMTP server; a server that refuses stops nobody; a password stays secret."""

from collections.abc import AsyncIterator

import pytest

from backstay.access import Mailer, People
from backstay.core.caller import Caller
from backstay.core.errors import ConfigError
from backstay.store import Database
from receivers import MailReceiver, receiving_mail


@pytest.fixture
async def mail_server() -> AsyncIterator[MailReceiver]:
    async with receiving_mail() as server:
        yield server


async def test_an_invitation_is_mailed(
    mail_server: MailReceiver, database: Database, secret: bytes, operator: Caller
) -> None:
    """The person who is invited gets their link, and it is said that it was mailed."""
    mailer = Mailer(mail_server.url, "backstay@example.com")
    people = People(database, secret, public_url="https://backstay.example", mailer=mailer)
    link = await people.invite(operator, "ada@example.com", "admin")
    assert link.mailed
    (mail,) = mail_server.mails
    assert "To: ada@example.com" in mail
    assert "From: backstay@example.com" in mail
    assert link.token in mail.replace("=\r\n", "").replace("=3D", "=")


async def test_a_refusing_server_stops_nobody(database: Database, secret: bytes, operator: Caller) -> None:
    """With no mail server there, the invitation is made all the same, and it is said that it was not mailed."""
    people = People(
        database, secret, public_url="https://backstay.example", mailer=Mailer("smtp://127.0.0.1:1", "b@example.com")
    )
    assert not (await people.invite(operator, "ada@example.com", "admin")).mailed


async def test_a_password_is_not_sent_in_clear(mail_server: MailReceiver, caplog: pytest.LogCaptureFixture) -> None:
    """A server without encryption is not given the password, nor is it in the log."""
    url = mail_server.url.replace("//", "//me:canary-secret@")
    assert not await Mailer(url, "b@example.com").send("ada@example.com", "Hello", "text")
    assert mail_server.mails == []
    assert not any("AUTH" in command for command in mail_server.commands)
    assert "canary-secret" not in caplog.text


@pytest.mark.parametrize("url", ["mail.example.com", "http://x", "smtp://", "smtp://u:canary@h:port"])
def test_a_wrong_address_is_told_without_repeating_it(url: str) -> None:
    """A mail server's address that is not one is refused, and what may hold a password is not repeated."""
    with pytest.raises(ConfigError) as caught:
        Mailer(url, "b@example.com")
    assert "canary" not in str(caught.value)
    assert "smtp://" in str(caught.value)
