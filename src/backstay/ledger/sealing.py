"""Owns how sums of stretches of time that are over are made: a stretch in a transaction, the shorter ones first."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import LiteralString

import msgspec

from backstay.core.errors import StoreUnavailable
from backstay.store import Database, load_queries

SETTLED = timedelta(minutes=15)
"""How long a stretch is over before it is sealed: longer than any transaction that ships may take."""

_log = logging.getLogger(__name__)

_LOOK_S = 60.0
_QUERIES = load_queries("backstay.ledger", "sealing.sql")
_AT_ONCE = 200
"""Stretches that are looked up at once."""
_PARTS = {3600: 0, 86400: 3600, 604800: 86400, 2419200: 604800}
"""What stretches are made of, in seconds; 0: of entries."""
_TIMEOUT_S = 600.0
"""Four weeks of a tenant with millions of calls take seconds."""


class Stretch(msgspec.Struct, frozen=True):
    """A stretch of one tenant's time that has entries. ``grain_s``: its length."""

    tenant_id: str
    grain_s: int
    at: datetime


async def keep_sealing(database: Database) -> None:
    """Seal what is over, until cancelled: it looks each minute, and what fails is logged and tried again."""
    while True:
        try:
            if count := await seal_due(database):
                _log.debug("%d stretches of time were sealed", count)
        except StoreUnavailable as error:
            _log.info("sums were not sealed: %s", error.message)
        except Exception:  # noqa: BLE001
            # The edge of the task: reports are right without it, only slower, and the other jobs must go on.
            _log.exception("sums were not sealed")
        await asyncio.sleep(_LOOK_S)


async def seal_due(database: Database, *, now: datetime | None = None) -> int:
    """Seal what is over and not sealed, and return how many stretches that were.

    Safe while others do the same. Whoever ships entries of hours that are over waits while a stretch of their tenant is
    sealed.

    Args:
        now: What is over by then. ``None``: by Postgres's clock, which is that of its lock, too.

    Raises:
        StoreUnavailable: Postgres does not answer. What was sealed before stays so.
    """
    count = 0
    while True:
        async with database.system() as connection:
            cursor = await connection.execute(_QUERIES["due"], {"now": now, "settled": SETTLED, "limit": _AT_ONCE})
            due = msgspec.convert(await cursor.fetchall(), list[Stretch])
        done = [await seal(database, stretch) for stretch in due]
        count += sum(done)
        if not any(done):
            return count


async def seal(database: Database, stretch: Stretch) -> bool:
    """Make a stretch's sums anew, of entries or of shorter stretches. Return ``False`` if one of these is not sealed.

    Raises ``StoreUnavailable`` if Postgres does not answer, and then nothing has changed.
    """
    params = {
        **msgspec.structs.asdict(stretch),
        "until": stretch.at + timedelta(seconds=stretch.grain_s),
        "part_s": _PARTS[stretch.grain_s],
    }
    async with database.system(timeout_s=_TIMEOUT_S) as connection:
        await connection.execute(_QUERIES["lock"], params)
        (found,) = await (await connection.execute(_QUERIES["is_whole"], params)).fetchall()
        if found["is_whole"]:
            for query in ("forget", *_makers(stretch.grain_s), "sealed"):
                await connection.execute(_text(query, stretch.grain_s), params, prepare=False)
    return found["is_whole"]


def _makers(grain_s: int) -> tuple[str, ...]:
    if grain_s == 3600:
        return ("seal_tags",)
    return ("seal_tags", "seal_users_alone") if grain_s == 86400 else ("seal_tags", "seal_users_alone", "seal_users")


def _text(query: str, grain_s: int) -> LiteralString:
    """Give a query; only hours are read from entries, which are many tables."""
    return _QUERIES[query].replace("{edges}", _QUERIES["hour_of_tags"] if grain_s == 3600 else "")
