"""Owns the order of things: Postgres and the local models, then workers and shipping; and the same backwards."""

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from backstay import __version__
from backstay.core.errors import BackstayError
from backstay.core.settings import Settings
from backstay.data_folder import DataFolder, RunningServer, open_data_folder
from backstay.providers.local import LocalModels
from backstay.providers.local_types import Notice
from backstay.store import EmbeddedPostgres, migrate
from backstay.supervisor.listening import listen, reachable, url_of
from backstay.supervisor.processes import KeptProcess, child_environment, pause_s
from backstay.supervisor.types import Component, Event

READY_CHECK_S = 0.05
READY_LIMIT_S = 60.0
CLOSE_S = 5.0
"""How long a worker may take, after its last stream has ended, to end itself."""
SHIP_S = 10.0
"""How long the shipping process may take, after the last worker has ended, to ship what the journals hold."""

Tell = Callable[[Event], None]


async def supervise(settings: Settings, on_event: Tell, *, stop: asyncio.Event | None = None) -> int:
    """Run an installation until SIGTERM, SIGINT or ``stop``; return 0, or 1 if a second signal cut the draining short.

    Raises:
        BackstayError: It could not start; the message says what to do. Nothing is left running.
    """
    stop, kill = stop or asyncio.Event(), asyncio.Event()
    with open_data_folder(settings.data_dir) as folder, listen(settings.host, settings.port) as listener:
        house = Installation(settings, folder, listener, on_event)
        with _signals(stop, kill, house.reload):
            try:
                await _unless(stop, house.start())
                await stop.wait()
            finally:
                await house.stop(kill)
    return 1 if kill.is_set() else 0


class Installation:
    """The processes of one data folder."""

    def __init__(self, settings: Settings, folder: DataFolder, listener: socket.socket, on_event: Tell):
        self._settings = settings
        self._folder = folder
        self._listener = listener
        self._url = url_of(listener)
        self._tell = on_event
        self._postgres = EmbeddedPostgres(folder.path) if settings.database_url is None else None
        self._models = LocalModels(self._on_notice) if settings.local_models else None
        self._workers: list[KeptProcess] = []
        self._shipping: KeptProcess | None = None
        self._jobs: KeptProcess | None = None
        self._keepers: dict[KeptProcess, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._started = False
        self._answering = False
        self._stillborn: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Start everything, and return when callers are answered."""
        began = time.monotonic()
        self._folder.forget_policy()
        models = asyncio.create_task(self._start_models())
        try:
            await self._start_workers(await self._start_postgres())
            await models
        finally:
            await _end(models)
        self._started = True
        self._folder.announce(RunningServer(pid=os.getpid(), url=self._url, version=__version__))
        self._tell(Event(component="backstay", state="ready", seconds=time.monotonic() - began, detail=self._url))

    def reload(self) -> None:
        """Ask every worker to read the policy again."""
        self._tell(Event(component="gateway", state="reloading"))
        for worker in self._workers:
            worker.send(signal.SIGHUP)

    async def stop(self, kill: asyncio.Event) -> None:
        """Drain the workers and jobs, let their journals be shipped, then stop the local models, then Postgres.

        Once ``kill`` is set, nothing is waited for.
        """
        self._folder.retract()
        if self._workers:
            self._tell(Event(component="gateway", state="draining"))
        began = time.monotonic()
        callers = [*self._workers, *([self._jobs] if self._jobs is not None else ())]
        await self._end_processes(callers, self._settings.drain_s + CLOSE_S, kill)
        if self._shipping is not None:
            await self._end_processes([self._shipping], SHIP_S, kill)
        if self._watcher is not None:
            await _end(self._watcher)
        if self._models is not None:
            await self._models.stop()
        if self._postgres is not None:
            await self._postgres.stop()
        self._tell(Event(component="backstay", state="stopped", seconds=time.monotonic() - began))

    async def _start_postgres(self) -> str:
        began = self._begin("postgres")
        if self._postgres is None:
            assert self._settings.database_url is not None
            url = self._settings.database_url.get_secret_value()
        else:
            url = await self._postgres.start()
            self._watcher = asyncio.create_task(self._keep_postgres(self._postgres))
        await migrate(url)
        self._tell(Event(component="postgres", state="ready", seconds=time.monotonic() - began))
        return url

    def _begin(self, component: Component) -> float:
        self._tell(Event(component=component, state="starting"))
        return time.monotonic()

    async def _keep_postgres(self, postgres: EmbeddedPostgres) -> None:
        failures = 0
        while True:
            last_words = await postgres.wait()
            self._tell(Event(component="postgres", state="restarting", detail=last_words))
            began = time.monotonic()
            await asyncio.sleep(pause_s(failures))
            try:
                await postgres.start()
            except BackstayError as error:
                failures += 1
                self._tell(Event(component="postgres", state="failed", detail=error.message))
            else:
                failures = 0
                self._tell(Event(component="postgres", state="ready", seconds=time.monotonic() - began))

    async def _start_models(self) -> None:
        if self._models is None:
            return
        began = self._begin("models")
        try:
            await self._models.start()
        except BackstayError as error:
            self._tell(Event(component="models", state="failed", detail=error.message))
        else:
            self._tell(Event(component="models", state="ready", seconds=time.monotonic() - began))

    async def _start_workers(self, database_url: str) -> None:
        began = self._begin("gateway")
        metrics = self._folder.path / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(mode=0o700)
        environment = child_environment(
            self._settings,
            {
                "BACKSTAY_DATABASE_URL": database_url,
                "PROMETHEUS_MULTIPROC_DIR": str(metrics),
                **(self._models.environment if self._models else {}),
            },
        )
        for number in range(self._settings.workers):
            arguments = ("backstay.worker", "--fd", str(self._listener.fileno()), "--slot", str(number))
            worker = KeptProcess(
                f"worker {number}",
                arguments,
                environment=environment,
                on_death=self._on_worker_death,
                inherited=(self._listener.fileno(),),
            )
            self._workers.append(worker)
            self._keep(worker)
        await self._until_ready()
        self._start_others(environment)
        self._tell(Event(component="gateway", state="ready", seconds=time.monotonic() - began, detail=self._url))

    def _start_others(self, environment: Mapping[str, str]) -> None:
        """Start what callers do not wait for: before, it would only take the time in which workers become ready."""
        self._shipping = KeptProcess(
            "the shipping process",
            ("backstay.shipping",),
            environment=environment,
            on_death=self._on_shipping_death,
            ends_with_input=True,
        )
        self._keep(self._shipping)
        if self._settings.jobs_concurrency:
            self._jobs = KeptProcess(
                "the process that runs jobs",
                ("backstay.job_runner",),
                environment=environment,
                on_death=self._on_jobs_death,
            )
            self._keep(self._jobs)

    def _keep(self, process: KeptProcess) -> None:
        self._keepers[process] = asyncio.create_task(process.keep())

    async def _until_ready(self) -> None:
        answers = asyncio.create_task(_answers(*reachable(self._listener)))
        await asyncio.wait((answers, self._stillborn), timeout=READY_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        ready = answers.done()
        await _end(answers)
        if self._stillborn.done():
            raise BackstayError(f"Backstay could not start: {self._stillborn.result()}. Its log above says why.")
        if not ready:
            raise BackstayError(f"No worker became ready within {READY_LIMIT_S:.0f} s. The log above says why.")
        self._answering = True

    def _on_worker_death(self, reason: str) -> None:
        if self._answering:
            self._tell(Event(component="gateway", state="restarting", detail=reason))
            return
        for worker in self._workers:
            worker.stop()
        if not self._stillborn.done():
            self._stillborn.set_result(reason)

    def _on_shipping_death(self, reason: str) -> None:
        self._tell(Event(component="shipping", state="restarting", detail=reason))

    def _on_jobs_death(self, reason: str) -> None:
        self._tell(Event(component="jobs", state="restarting", detail=reason))

    def _on_notice(self, notice: Notice) -> None:
        """Tell what becomes of the local models after the start, of which ``_start_models`` tells."""
        if self._started and notice.state != "loading":
            self._tell(
                Event(component="models", state=notice.state, detail=f"{notice.model} {notice.detail or ''}".strip())
            )

    async def _end_processes(self, processes: Sequence[KeptProcess], limit_s: float, kill: asyncio.Event) -> None:
        """Ask processes to end, and kill those that have not when the time is up or ``kill`` is set."""
        for process in processes:
            process.stop()
        ended = asyncio.gather(*(self._keepers[process] for process in processes))
        killed = asyncio.create_task(kill.wait())
        await asyncio.wait((ended, killed), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        for process in processes:
            process.send(signal.SIGKILL)
        await ended


async def _answers(host: str, port: int) -> None:
    """Return when the server says that it is ready."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: backstay\r\nconnection: close\r\n\r\n")
            status_line = await reader.readline()
            writer.close()
            if status_line.split(b" ")[1:2] == [b"200"]:
                return
        await asyncio.sleep(READY_CHECK_S)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or leave it as soon as ``stop`` is set."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        await _end(stopped)
        await _end(task)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has cleaned up, whatever its outcome."""
    task.cancel()
    await asyncio.wait((task,))


@contextmanager
def _signals(stop: asyncio.Event, kill: asyncio.Event, reload: Callable[[], None]) -> Generator[None]:
    """Turn SIGTERM and SIGINT into ``stop``, a second one into ``kill``, and SIGHUP into ``reload``."""
    loop = asyncio.get_running_loop()

    def on_stop() -> None:
        (kill if stop.is_set() else stop).set()

    for number, handler in ((signal.SIGTERM, on_stop), (signal.SIGINT, on_stop), (signal.SIGHUP, reload)):
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
