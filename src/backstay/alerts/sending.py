"""Owns the sending of one message to one channel, and what came of it."""

import base64
import binascii
import datetime as dt
import time
from collections.abc import Mapping

from backstay.access import Mailer
from backstay.alerts.config import ChannelConfig
from backstay.alerts.messages import Message, write_json, write_mail, write_slack
from backstay.core.errors import ConfigError
from backstay.jobs.posting import Posted, Poster
from backstay.jobs.webhooks import sign
from backstay.providers.secrets import is_reference, read_secret

_SHORTEST_SECRET = 24
_LONGEST_SECRET = 64
"""Bytes. Source: Standard Webhooks, "Signature scheme" (2024-06)."""


class Sender:
    """Sends to channels of every kind. Credentials are looked up anew each time: they may change."""

    def __init__(self, poster: Poster, mailer: Mailer | None, environ: Mapping[str, str]):
        """Take what sends. ``mailer``: ``None`` where there is no mail server."""
        self._poster = poster
        self._mailer = mailer
        self._environ = environ

    async def send(self, channel: ChannelConfig, message: Message) -> Posted:
        """Send a message. Whatever goes wrong is in what is returned."""
        try:
            match channel.kind:
                case "webhook":
                    return await self._webhook(channel, message)
                case "slack":
                    return await self._poster.post(self._find(channel.url or ""), write_slack(message), {})
                case "email":
                    return await self._mail(channel, message)
        except ConfigError as error:
            return Posted(problem=error.message)

    async def _webhook(self, channel: ChannelConfig, message: Message) -> Posted:
        secret = _read_key(self._find(channel.secret or ""))
        body, timestamp = write_json(message, dt.datetime.now(dt.UTC)), int(time.time())
        headers = {
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign([secret], message.id, timestamp, body),
        }
        return await self._poster.post(self._find(channel.url or ""), body, headers)

    async def _mail(self, channel: ChannelConfig, message: Message) -> Posted:
        if self._mailer is None:
            return Posted(problem="There is no mail server. Set BACKSTAY_SMTP_URL.")
        subject, text = write_mail(message)
        return Posted(problem=await self._mailer.try_send(channel.to, subject, text, message_id=message.id))

    def _find(self, text: str) -> str:
        return read_secret(text, self._environ).reveal() if is_reference(text) else text


def _read_key(text: str) -> bytes:
    """Read a secret as Standard Webhooks writes it. Raises ``ConfigError``."""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST_SECRET <= len(key) <= _LONGEST_SECRET:
        size = f"{_SHORTEST_SECRET} to {_LONGEST_SECRET}"
        raise ConfigError(
            f"The channel's secret must be whsec_ and base64 of {size} bytes, as of `openssl rand -base64 32`."
        )
    return key
