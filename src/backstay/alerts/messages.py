"""Owns what is said of an alert: JSON for programs, Slack's JSON, and a mail. Pure.

Source: https://docs.slack.dev/reference/block-kit/blocks/header-block (150 characters), …/section-block (3,000), and
https://docs.slack.dev/messaging/formatting-message-text for what is escaped (2026-11).
"""

import datetime as dt
from typing import Any, Literal

import msgspec

from backstay.alerts.types import Alert

MessageEvent = Literal["raised", "resolved", "test"]

_LONGEST_HEADER = 150
_LONGEST_SECTION = 3000
_LONGEST_SUBJECT = 150


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one channel."""

    id: str
    """The same at each try."""
    event: MessageEvent
    tenant_id: str
    alert: Alert
    base_url: str
    """Of the console, without a slash at the end; empty: nobody knows."""

    @property
    def url(self) -> str:
        """Where the alert is shown; empty: nobody knows."""
        return f"{self.base_url}/alerts/{self.alert.id}" if self.base_url and self.event != "test" else ""

    @property
    def headline(self) -> str:
        word = {"raised": self.alert.severity.capitalize(), "resolved": "Resolved", "test": "Test"}[self.event]
        return f"{word}: {self.alert.title}"

    @property
    def lines(self) -> list[str]:
        """What is said below the headline."""
        ends = [self.alert.resolution] if self.event == "resolved" and self.alert.resolution else []
        return [*ends, *self.alert.details]

    @property
    def footer(self) -> str:
        if self.event == "test":
            return f"tenant {self.tenant_id}"
        return f"{self.alert.subject} in tenant {self.tenant_id}, {self.alert.id}"


def write_json(message: Message, now: dt.datetime) -> bytes:
    """Write a message for programs, in the shape of Standard Webhooks: type, timestamp, data."""
    alert = msgspec.to_builtins(message.alert)
    data = {"tenant": message.tenant_id, **alert, "url": message.url or None}
    return msgspec.json.encode({"type": f"alert.{message.event}", "timestamp": now, "data": data})


def write_slack(message: Message) -> bytes:
    """Write a message as Slack's incoming webhooks take it, and those that are like them."""
    link = f"<{_escape(message.url)}|Show it>" if message.url else ""
    text = "\n".join([*map(_escape, message.lines), *([link] if link else [])])
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": _cut(message.headline, _LONGEST_HEADER), "emoji": False},
        }
    ]
    if text:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _LONGEST_SECTION)}})
    blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": _cut(message.footer, 2000)}]})
    return msgspec.json.encode({"text": _escape(_cut(message.headline, _LONGEST_SECTION)), "blocks": blocks})


def write_mail(message: Message) -> tuple[str, str]:
    """Write a mail: its subject, of one line, and its text."""
    subject = _cut(" ".join(f"[Backstay] {message.headline}".split()), _LONGEST_SUBJECT)
    parts = [message.headline, "\n".join(message.lines), message.url, message.footer]
    return subject, "\n\n".join(part for part in parts if part) + "\n"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
