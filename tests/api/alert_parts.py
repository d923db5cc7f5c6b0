"""Owns what of alerts the tests of the API need: no rule, and a channel that reaches nobody."""

from backstay.access import AuditLog
from backstay.alerts import AlertRules, ChannelConfig
from backstay.alerts.book import AlertBook, Channels
from backstay.alerts.sending import Sender
from backstay.api.alerts import AlertDeps
from backstay.jobs.posting import Poster
from backstay.store import Database


def alert_deps(database: Database) -> AlertDeps:
    rules = AlertRules({}, {"ops": ChannelConfig(kind="email", to=["ops@example.org"])})
    channels = Channels(lambda: rules, Sender(Poster(()), None, {}), "")
    return AlertDeps(book=AlertBook(database), channels=channels, audit=AuditLog(database))
