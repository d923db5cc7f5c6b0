"""What is said of an alert: in JSON, to Slack, by mail."""

import datetime as dt
import json

import msgspec
import pytest

from backstay.alerts import Alert
from backstay.alerts.messages import Message, MessageEvent, write_json, write_mail, write_slack

_NOW = dt.datetime(2026, 11, 28, 9, 30, tzinfo=dt.UTC)
ALERT = Alert(
    id="alert_1",
    kind="budget_share",
    subject="budget:bud_1",
    threshold="0.8",
    window="2026-11-01T00:00:00Z",
    severity="warning",
    title="budget <chat> & more: 80 % spent",
    details=["$8.1 of $10 for this month are spent, 81 %.", "<!channel> calls beyond it are refused."],
    numbers={"spent_usd": "8.1"},
    link="/costs",
    state="open",
    raised_at=_NOW,
    seen_at=_NOW,
    resolved_at=None,
    resolution=None,
    acknowledged_at=None,
    acknowledged_by=None,
)


def _message(event: MessageEvent = "raised", alert: Alert = ALERT) -> Message:
    return Message(id="msg_1", event=event, tenant_id="acme", alert=alert, base_url="https://backstay.example")


def test_json_has_the_standards_shape() -> None:
    """Type, timestamp and data, with exact amounts and where it is shown."""
    body = json.loads(write_json(_message(), _NOW))
    assert (body["type"], body["timestamp"]) == ("alert.raised", "2026-11-28T09:30:00Z")
    assert body["data"]["tenant"] == "acme"
    assert body["data"]["numbers"] == {"spent_usd": "8.1"}
    assert body["data"]["url"] == "https://backstay.example/alerts/alert_1"


def test_slack_gets_text_and_blocks_and_no_markup_of_ours() -> None:
    """A header in plain text, a section whose markup is escaped so that nothing pings a channel, and a fallback."""
    body = json.loads(write_slack(_message()))
    assert body["text"] == "Warning: budget &lt;chat&gt; &amp; more: 80 % spent"
    header, section, context = body["blocks"]
    assert header["text"] == {
        "type": "plain_text",
        "text": "Warning: budget <chat> & more: 80 % spent",
        "emoji": False,
    }
    assert "&lt;!channel&gt;" in section["text"]["text"] and "<!channel>" not in section["text"]["text"]
    assert section["text"]["text"].endswith("<https://backstay.example/alerts/alert_1|Show it>")
    assert context["elements"][0]["text"] == "budget:bud_1 in tenant acme, alert_1"


def test_slack_keeps_its_limits() -> None:
    """What is longer than Slack takes is cut: 150 characters of a header, 3,000 of a section."""
    long = msgspec.structs.replace(ALERT, title="t" * 500, details=["d" * 5000])
    header, section, _ = json.loads(write_slack(_message(alert=long)))["blocks"]
    assert (len(header["text"]["text"]), len(section["text"]["text"])) == (150, 3000)


def test_a_mail_has_one_line_of_subject() -> None:
    """No line break of a title gets into a header."""
    evil = msgspec.structs.replace(ALERT, title="one\r\nBcc: two@example.org")
    subject, text = write_mail(_message("resolved", msgspec.structs.replace(evil, resolution="It fell.")))
    assert subject == "[Backstay] Resolved: one Bcc: two@example.org"
    assert "It fell." in text and "https://backstay.example/alerts/alert_1" in text


@pytest.mark.parametrize("event", ["raised", "resolved", "test"])
def test_a_long_section_keeps_its_link(event: MessageEvent) -> None:
    """Each message can be written in each form."""
    assert write_slack(_message(event)) and write_json(_message(event), _NOW) and write_mail(_message(event))
