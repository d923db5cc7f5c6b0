"""Owns the sending of mail by SMTP."""

import asyncio
import logging
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from backstay.core.errors import ConfigError

log = logging.getLogger(__name__)

_PORTS = {"smtp": 587, "smtps": 465}


class Mailer:
    """Sends mail through one server: ``smtp://user:password@host:587`` (STARTTLS where offered) or ``smtps://…:465``."""

    def __init__(self, smtp_url: str, mail_from: str, *, timeout_s: float = 10.0):
        """Read the server's address. Raises ``ConfigError``."""
        try:
            parts = urlsplit(smtp_url)
            self._port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            # The address holds a password: it is not repeated.
            raise ConfigError("BACKSTAY_SMTP_URL must look like smtp://user:password@host:587.") from None
        if not parts.hostname:
            raise ConfigError("BACKSTAY_SMTP_URL names no host. It must look like smtp://user:password@host:587.")
        self._host = parts.hostname
        self._is_tls = parts.scheme == "smtps"
        self._login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._from = mail_from
        self._timeout_s = timeout_s

    async def send(self, to: str, subject: str, text: str) -> bool:
        """Send one mail; false, and a line in the log, if the server does not take it."""
        return await self.try_send([to], subject, text) is None

    async def try_send(
        self, to: Sequence[str], subject: str, text: str, *, message_id: str | None = None
    ) -> str | None:
        """Send one mail to all of them; return why the server did not take it, in a sentence, and log it too.

        Args:
            message_id: What goes before the @ of its Message-ID, so that a repeat can be told; else a new one is made.
        """
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._from, ", ".join(to), subject
        if message_id is not None:
            message["Message-ID"] = f"<{message_id}@{self._from.rpartition('@')[2].strip('> ') or 'backstay'}>"
        message.set_content(text)
        try:
            await asyncio.to_thread(self._deliver, message)
        except (OSError, smtplib.SMTPException) as error:
            log.warning("mail through %s:%d was not sent: %s", self._host, self._port, type(error).__name__)
            return f"The mail server {self._host}:{self._port} did not take it: {type(error).__name__}."
        return None

    def _deliver(self, message: EmailMessage) -> None:
        with self._connect() as server:
            if self._login is not None:
                server.login(*self._login)
            server.send_message(message)

    def _connect(self) -> smtplib.SMTP:
        tls = ssl.create_default_context()
        if self._is_tls:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=tls)
        server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=tls)
        elif self._login is not None:
            server.close()
            raise smtplib.SMTPException("the server offers no encryption for a password")
        return server
