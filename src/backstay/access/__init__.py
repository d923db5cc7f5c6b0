"""Who may do what: tenants, keys, people, sessions, links and the audit log. Its nouns are in ``access.types``."""

from backstay.access.audit import AuditLog
from backstay.access.keyring import KeyRing
from backstay.access.keys import Keys
from backstay.access.labels import clean_label
from backstay.access.mail import Mailer
from backstay.access.people import People
from backstay.access.sessions import Sessions
from backstay.access.types import NewKey

__all__ = [
    "AuditLog",
    "KeyRing",
    "Keys",
    "Mailer",
    "NewKey",
    "People",
    "Sessions",
    "clean_label",
]
