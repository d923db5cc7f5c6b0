"""Owns the process that runs jobs: ``python -m backstay.job_runner``, one an installation, started by the supervisor.

It makes calls like a worker's, on a path of calls of its own, as the key that asked for them. It ends on SIGTERM, or
when the supervisor is gone, once the calls that are under way have ended.
"""

import asyncio
import logging
import os
import socket
import sys

import uvloop

from backstay.access import Mailer
from backstay.alerts import AlertRules
from backstay.alerts.delivery import AlertDeliverer
from backstay.alerts.evaluation import Evaluator
from backstay.alerts.quality_watch import CollectionsWatch
from backstay.alerts.sending import Sender
from backstay.alerts.spend_watch import SpendWatch
from backstay.api import WIRES
from backstay.api.auth import OPERATOR_ID, operator
from backstay.cache import read_directives
from backstay.call_path import CallPath
from backstay.child_process import set_up_logging, told_to_end
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, ConfigError, StoreUnavailable
from backstay.core.settings import Settings
from backstay.gateway import Incoming, call
from backstay.gateway.own_calls import OwnCalls
from backstay.gateway.whole_answer import WholeAnswer
from backstay.jobs import Answered, Deliverer, Files, Job, JobStore, Runner
from backstay.jobs import Upkeep as BatchUpkeep
from backstay.jobs.fetching import Fetcher
from backstay.jobs.figures import Figures
from backstay.jobs.posting import Poster, trusting
from backstay.jobs.webhooks import read_hosts
from backstay.ledger.sealing import keep_sealing
from backstay.retrieval import Embeddings, Ingest, RetrievalStore
from backstay.retrieval.building import Builder
from backstay.retrieval.crawling import Crawling, Crawls
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.ingest_store import IngestStore
from backstay.retrieval.ingests import Ingests
from backstay.retrieval.parsing import MOST_BYTES
from backstay.retrieval.taking_in import TakingIn
from backstay.retrieval.upkeep import Upkeep
from backstay.store import Database
from backstay.store.folders import is_left
from backstay.tracing import CallMetrics

SLOT = "jobs"
_CONNECTIONS = 10
_LOOK_S = 0.1
_INGEST_LINES = 2
"""Files that are read at once: reading one takes a processor."""
_WORTH_ANOTHER = frozenset({408, 425, 429})
_STANDS_IN = frozenset({b"message", b"cache_stale"})

_log = logging.getLogger("backstay.jobs")


def main() -> int:
    """Run jobs until told to end."""
    settings = Settings()
    set_up_logging(settings)
    try:
        uvloop.run(_run(settings))
    except BackstayError as error:
        _log.error("%s", error)
        return 1
    return 0


async def _run(settings: Settings) -> None:
    if settings.database_url is None:
        raise ConfigError("BACKSTAY_DATABASE_URL is not set. Start the process that runs jobs with `backstay serve`.")
    metrics = CallMetrics(settings.data_dir / "metrics", SLOT, is_worker=False)
    database = Database(settings.database_url.get_secret_value(), max_connections=_CONNECTIONS, name="backstay jobs")
    path = CallPath(settings, SLOT, database=database, observe=metrics.observe, knows_all_keys=False)
    end = told_to_end()
    await path.start()
    try:
        path.run(metrics.run())
        await _run_jobs(settings, path, metrics, end)
    finally:
        await path.stop()


async def _run_jobs(settings: Settings, path: CallPath, metrics: CallMetrics, end: asyncio.Event) -> None:
    store = JobStore(path.database, f"{socket.gethostname()}:{settings.data_dir.resolve()}")
    upkeep = BatchUpkeep(store, Files(path.database), longest_line_bytes=settings.max_body_bytes)
    runner = Runner(store, upkeep, _Asking(path).ask, concurrency=settings.jobs_concurrency)
    deliverer = Deliverer(path.database, path.secret, read_hosts(settings.webhook_hosts), settings.webhook_ca)

    def wake() -> None:
        runner.wake()
        deliverer.wake()

    path.database.listen("backstay_jobs", lambda _: wake(), on_gap=wake)
    path.run(deliverer.run())
    path.run(keep_sealing(path.database))
    _watch_alerts(settings, path, metrics)
    _keep_collections(settings, path, store.owner)
    figures = Figures(store, runner.tries, deliverer.tries)
    figures.watch(metrics.add_family)
    path.run(figures.run())
    running = asyncio.create_task(_run_after_the_last(settings, store, runner))
    ended = asyncio.create_task(end.wait())
    await asyncio.wait((running, ended), return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    running.cancel()
    await asyncio.wait((running,))
    await runner.drain(settings.drain_s)


def _keep_collections(settings: Settings, path: CallPath, owner: str) -> None:
    """Build generations of collections, and take in what is sent to them."""

    async def caller_of(tenant_id: str, key_id: str) -> Caller:
        return await _caller(path, tenant_id, key_id)

    store, ingests = RetrievalStore(path.database), IngestStore(path.database)
    generations = GenerationStore(path.database, store)
    calls = OwnCalls(path.gateway, path.gate)
    ingest = Ingest(store, Embeddings(calls, store), calls)
    upkeep = Upkeep(Builder(generations, store, ingest, caller_of, owner=owner), generations, ingests, owner=owner)
    fetcher = Fetcher(read_hosts(settings.ingest_hosts), trusting(settings.webhook_ca), most_bytes=MOST_BYTES)
    read_file = Files(path.database).read
    lines = [
        TakingIn(ingests, ingest, caller_of, fetcher.fetch, read_file, owner=owner, wake=upkeep.wake)
        for _ in range(_INGEST_LINES)
    ]
    path.database.listen("backstay_retrieval", lambda _: upkeep.wake(), on_gap=upkeep.wake)
    crawling = Crawling(
        Crawls(path.database, store), Ingests(ingests, store), caller_of, fetcher.fetch, wake=upkeep.wake
    )
    path.run(upkeep.run(lines, crawling))


def _watch_alerts(settings: Settings, path: CallPath, metrics: CallMetrics) -> None:
    """Look for what somebody should know of, and tell them."""
    smtp = settings.smtp_url
    mailer = None if smtp is None else Mailer(smtp.get_secret_value(), settings.mail_from)
    sender = Sender(Poster(read_hosts(settings.webhook_hosts), settings.webhook_ca), mailer, os.environ)

    def rules() -> AlertRules:
        return path.policy.alerts

    teller = AlertDeliverer(path.database, rules, sender, settings.public_url or "")
    evaluator = Evaluator(path.database, path.alerts, rules, lambda: path.policy.budgets, on_news=teller.wake)
    spend = SpendWatch(path.database, path.alerts, lambda: path.policy.file.anomalies, lambda: path.policy.budgets)
    evaluator.watch(metrics.add_family)
    teller.watch(metrics.add_family)
    path.run(evaluator.run())
    path.run(spend.run())
    path.run(CollectionsWatch(path.database, path.alerts).run())
    path.run(teller.run())


async def _run_after_the_last(settings: Settings, store: JobStore, runner: Runner) -> None:
    """Run, once what this process's predecessor left in its journal is in Postgres: what was answered is not asked."""
    while is_left(settings.data_dir / "journal", SLOT):  # noqa: ASYNC110 - another process ships it
        await asyncio.sleep(_LOOK_S)
    while True:
        try:
            if calls := await store.take_back():
                _log.warning("%d calls were under way when the last process ended; they are made again", calls)
            break
        except StoreUnavailable:
            await asyncio.sleep(1.0)
    await runner.run()


class _Asking:
    """Makes the calls of jobs."""

    def __init__(self, path: CallPath):
        self._path = path
        self._wires = {wire.path: wire for wire in WIRES}

    async def ask(self, job: Job) -> Answered:
        """Make a job's call, within the limits of the key that asked for it as it is now."""
        wire = self._wires[job.path]
        answer = WholeAnswer()
        try:
            caller = await _caller(self._path, job.tenant_id, job.key_id)
            ticket = await self._path.gate.enter(job.tenant_id, "batch", len(job.body))
        except StoreUnavailable:
            raise
        except BackstayError as error:
            status, _, body = wire.dialect.write_error(error, request_id=job.trace_id)
            return Answered(http_status=status, body=body, is_good=False, is_worth_another=error.retryable)
        incoming = Incoming(
            operation=wire.operation,
            path=job.path,
            dialect=wire.dialect,
            caller=caller,
            priority="batch",
            body=job.body,
            forward=job.terms.forward,
            feature=job.terms.feature or caller.feature,
            tags=job.terms.tags or caller.tags,
            trace_id=job.trace_id,
            parent_id=job.terms.parent_id,
            cache_control=read_directives(job.terms.cache_control),
            max_cost_nanousd=job.terms.max_cost_nanousd,
            job_id=job.job_id,
            batch_id=job.batch_id,
        )
        try:
            await call(self._path.gateway, incoming, answer)
        finally:
            self._path.gate.leave(ticket)
        return _answered(answer)


async def _caller(path: CallPath, tenant_id: str, key_id: str) -> Caller:
    """Find out who a key makes its holder, now."""
    if key_id == OPERATOR_ID:
        return operator(tenant_id)
    return await path.ring.caller_of(tenant_id, key_id)


def _answered(answer: WholeAnswer) -> Answered:
    status, headers = answer.status, answer.headers
    if headers.get(b"x-backstay-degraded") in _STANDS_IN:
        status = 503
    return Answered(
        http_status=status,
        body=answer.body,
        is_good=status < 400,
        is_worth_another=status in _WORTH_ANOTHER or status >= 500,
        retry_after_s=_seconds(headers.get(b"retry-after")),
        is_limited=status == 429 and b"x-backstay-attempts" not in headers,
    )


def _seconds(value: bytes | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None  # a date: the pause is ours to choose


if __name__ == "__main__":
    sys.exit(main())
