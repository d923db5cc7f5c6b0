"""Alerts are told over real sockets: signed, tried again under the same id, begun before over, each once."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest

from backstay.access import Mailer
from backstay.alerts import AlertConfig, AlertRules, Alerts, ChannelConfig, Finding, Key
from backstay.alerts.book import AlertBook
from backstay.alerts.delivery import AlertDeliverer
from backstay.alerts.sending import Sender
from backstay.core.caller import RIGHTS, Caller
from backstay.jobs.posting import Poster
from backstay.jobs.webhooks import sign
from backstay.store import Database
from receivers import Receiver, receiving, receiving_mail

_KEY = Key(kind="loop", subject="key:key_1")
_SECRET = b"s" * 32
_ENVIRON = {"ALERT_SECRET": "whsec_" + base64.b64encode(_SECRET).decode()}
_OPERATOR = Caller(tenant_id="acme", kind="operator", id="operator", name="operator", rights=frozenset(RIGHTS))


def _finding() -> Finding:
    return Finding(key=_KEY, severity="warning", title="One key goes round in a circle", details=("12 calls",))


class Installation:
    """Alerts and who tells of them, over one database."""

    def __init__(self, database: Database, channels: dict[str, ChannelConfig], mailer: Mailer | None = None):
        self.database = database
        self.rules = AlertRules({"loops": AlertConfig(on=["loop"], channels=list(channels))}, channels)
        self.alerts = Alerts(database, lambda: self.rules)
        self.sender = Sender(Poster(["127.0.0.1"]), mailer, _ENVIRON)
        self.deliverer = self.another_deliverer()

    def another_deliverer(self) -> AlertDeliverer:
        return AlertDeliverer(self.database, lambda: self.rules, self.sender, "https://backstay.example/")

    async def hasten(self) -> None:
        """Let what waits for its next try be due."""
        async with self.database.system() as connection:
            await connection.execute("update alert_deliveries set due_at = now() where state = 'waiting'")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def _webhook(receiver: Receiver) -> ChannelConfig:
    return ChannelConfig(kind="webhook", url=receiver.url + "/hook?a=1", secret="env:ALERT_SECRET")


async def test_a_webhook_is_signed_and_tried_again_under_its_id(
    database: Database, tenant: str, receiver: Receiver
) -> None:
    """A receiver that answers 500 is told again: the same id, so that it can tell; each time with a right signature."""
    here = Installation(database, {"ops": _webhook(receiver)})
    receiver.answers = [500]
    alert_id = await here.alerts.raise_alert(tenant, _finding())
    assert alert_id is not None
    assert (await here.deliverer.deliver_some(), await here.deliverer.deliver_some()) == (1, 0)
    _, (told,) = await AlertBook(database).find(_OPERATOR, alert_id)
    assert (told.state, told.tries, told.error) == ("waiting", 1, "The receiver answered 500.")
    await here.hasten()
    assert await here.deliverer.deliver_some() == 1
    _, (told,) = await AlertBook(database).find(_OPERATOR, alert_id)
    assert (told.state, told.tries, told.error) == ("delivered", 2, None)
    assert here.deliverer.tries == {"delivered": 1, "again": 1, "failed": 0}
    assert {headers["webhook-id"] for _, headers, _ in receiver.came} == {told.id}
    for path, headers, body in receiver.came:
        assert path == "/hook?a=1"
        signature = sign([_SECRET], told.id, int(headers["webhook-timestamp"]), body)
        assert headers["webhook-signature"] == signature
    body = json.loads(receiver.came[1][2])
    assert (body["type"], body["data"]["id"], body["data"]["tenant"]) == ("alert.raised", alert_id, tenant)


async def test_the_end_is_told_after_the_beginning(database: Database, tenant: str, receiver: Receiver) -> None:
    """While the beginning was not delivered, the end waits, though it is due."""
    here = Installation(database, {"ops": _webhook(receiver)})
    receiver.answers = [503]
    await here.alerts.raise_alert(tenant, _finding())
    await here.deliverer.deliver_some()
    await here.alerts.resolve(tenant, _KEY, "It stopped.")
    assert await here.deliverer.deliver_some() == 0
    await here.hasten()
    assert (await here.deliverer.deliver_some(), await here.deliverer.deliver_some()) == (1, 1)
    assert [json.loads(body)["type"] for _, _, body in receiver.came] == [
        "alert.raised", "alert.raised", "alert.resolved",
    ]  # fmt: skip
    assert json.loads(receiver.came[2][2])["data"]["resolution"] == "It stopped."


async def test_many_deliverers_tell_once(database: Database, tenant: str, receiver: Receiver) -> None:
    """Of four that look at the same time, one leases each message."""
    here = Installation(database, {"ops": _webhook(receiver)})
    for number in range(6):
        key = Key(kind="loop", subject=f"key:{number}")
        await here.alerts.raise_alert(tenant, Finding(key=key, severity="info", title="t"))
    await asyncio.gather(*(here.another_deliverer().deliver_some() for _ in range(4)))
    ids = [headers["webhook-id"] for _, headers, _ in receiver.came]
    assert len(ids) == len(set(ids)) == 6


async def test_slack_gets_its_json(
    database: Database, tenant: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel of kind slack gets text and blocks, and no signature."""
    monkeypatch.setitem(_ENVIRON, "SLACK_URL", receiver.url + "/services/T0/B0/x")
    here = Installation(database, {"ops": ChannelConfig(kind="slack", url="env:SLACK_URL")})
    await here.alerts.raise_alert(tenant, _finding())
    await here.deliverer.deliver_some()
    ((path, headers, body),) = receiver.came
    assert path == "/services/T0/B0/x" and "webhook-signature" not in headers
    assert json.loads(body)["blocks"][0]["text"]["text"] == "Warning: One key goes round in a circle"


async def test_mail_goes_to_all_with_an_id_of_its_own(database: Database, tenant: str) -> None:
    """Both addresses get it, and its Message-ID is the message's, so that a repeat is the same mail."""
    async with receiving_mail() as server:
        to = ["ada@example.org", "bob@example.org"]
        here = Installation(
            database, {"ops": ChannelConfig(kind="email", to=to)}, Mailer(server.url, "backstay@example.com")
        )
        alert_id = await here.alerts.raise_alert(tenant, _finding())
        assert alert_id is not None
        await here.deliverer.deliver_some()
    _, (told,) = await AlertBook(database).find(_OPERATOR, alert_id)
    assert (told.state, server.recipients) == ("delivered", to)
    (mail,) = server.mails
    assert f"Message-ID: <{told.id}@example.com>" in mail
    assert "Subject: [Backstay] Warning: One key goes round in a circle" in mail


@pytest.mark.parametrize(
    ("channel", "problem"),
    [
        (ChannelConfig(kind="email", to=["a@example.org"]), "There is no mail server. Set BACKSTAY_SMTP_URL."),
        (
            ChannelConfig(kind="webhook", url="https://localhost/x", secret="env:ALERT_SECRET"),
            "The host localhost is inside the network. An operator may name it in BACKSTAY_WEBHOOK_HOSTS.",
        ),
        (ChannelConfig(kind="slack", url="env:NOT_SET"), "The environment variable NOT_SET holds no key."),
        (
            ChannelConfig(kind="webhook", url="https://x.example", secret="env:SHORT"),
            "The channel's secret must be whsec_ and base64 of 24 to 64 bytes",
        ),
    ],
)
async def test_what_cannot_be_sent_says_why_and_waits(
    database: Database, tenant: str, channel: ChannelConfig, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that is not set up right keeps its message, with a sentence that says what to do."""
    monkeypatch.setitem(_ENVIRON, "SHORT", "whsec_c2hvcnQ=")
    here = Installation(database, {"ops": channel})
    alert_id = await here.alerts.raise_alert(tenant, _finding())
    assert alert_id is not None
    await here.deliverer.deliver_some()
    _, (told,) = await AlertBook(database).find(_OPERATOR, alert_id)
    assert told.state == "waiting" and problem in (told.error or "")


async def test_a_channel_that_is_gone_is_given_up(database: Database, tenant: str, receiver: Receiver) -> None:
    """What the policy does not name any more is not tried again."""
    here = Installation(database, {"ops": _webhook(receiver)})
    alert_id = await here.alerts.raise_alert(tenant, _finding())
    assert alert_id is not None
    here.rules = AlertRules()
    await here.deliverer.deliver_some()
    _, (told,) = await AlertBook(database).find(_OPERATOR, alert_id)
    assert (told.state, told.error) == ("failed", "The policy has no [alert_channels.ops] any more.")
    assert receiver.came == []
