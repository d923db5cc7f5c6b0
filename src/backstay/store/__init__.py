"""Postgres: the embedded server, migrations, transactions; and the journal of calls with its shipper.

Owns every connection to the database. Must never know what a row means: the rooms above bring their own queries.
"""

from backstay.store.database import Database
from backstay.store.embedded import EmbeddedPostgres
from backstay.store.journal import Journal, JournalFull
from backstay.store.migrate import migrate
from backstay.store.pool import Connection
from backstay.store.queries import load_queries
from backstay.store.shipper import Shipper

__all__ = [
    "Connection",
    "Database",
    "EmbeddedPostgres",
    "Journal",
    "JournalFull",
    "Shipper",
    "load_queries",
    "migrate",
]
