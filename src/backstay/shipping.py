"""Owns the shipping process: ``python -m backstay.shipping``, one an installation, started by the supervisor.

It ends on SIGTERM, or when the supervisor is gone, once it has shipped what the journals hold then.
"""

import asyncio
import logging
import sys
from functools import partial

import uvloop

from backstay.budgets import end_holder
from backstay.child_process import set_up_logging, told_to_end
from backstay.core.errors import BackstayError, ConfigError
from backstay.core.settings import Settings
from backstay.idempotency import keep_swept
from backstay.limits import give_back
from backstay.records import MERGES, interrupted
from backstay.store import Database, Shipper
from backstay.tracing import CallMetrics

SHIP_LIMIT_S = 8.0
"""How long it goes on when it shall end; what is left then is shipped by the next start."""

_log = logging.getLogger("backstay.shipping")


def main() -> int:
    """Ship the journals of the data folder until told to end."""
    settings = Settings()
    set_up_logging(settings)
    try:
        uvloop.run(_ship(settings))
    except BackstayError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _ship(settings: Settings) -> None:
    if settings.database_url is None:
        raise ConfigError("BACKSTAY_DATABASE_URL is not set. Start the shipping process with `backstay serve`.")
    database = Database(settings.database_url.get_secret_value(), name="backstay shipping")
    shipper = Shipper(
        settings.data_dir / "journal",
        database,
        MERGES,
        interrupted,
        on_death=partial(give_back, database),
        on_end=partial(end_holder, database),
    )
    metrics = _metrics(settings, shipper)
    end = told_to_end()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in (shipper.run(), metrics.run(), keep_swept(database))]
        await end.wait()
        if not await shipper.drain(SHIP_LIMIT_S):
            _log.warning("The journals could not be shipped whole: the next start ships the rest.")
        for task in running:
            task.cancel()
    await database.close()


def _metrics(settings: Settings, shipper: Shipper) -> CallMetrics:
    metrics = CallMetrics(settings.data_dir / "metrics", "shipping", is_worker=False)
    metrics.add_gauge("backstay_journal_backlog_bytes", "Journal not in Postgres yet.", lambda: shipper.backlog_bytes)
    metrics.add_counter("backstay_journal_shipped_total", "Entries shipped.", lambda: shipper.shipped)
    metrics.add_counter("backstay_journal_rejected_total", "Entries that Postgres refuses.", lambda: shipper.rejected)
    return metrics


if __name__ == "__main__":
    sys.exit(main())
