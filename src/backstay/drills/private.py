"""Owns the private instance: an installation in a temporary folder, with a Postgres that can be taken away."""

import asyncio
import datetime as dt
import json
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
from pydantic import SecretStr

from backstay.budgets.burn import Burns, Holding
from backstay.core.caller import DEFAULT_TENANT
from backstay.core.errors import BackstayError, StoreUnavailable
from backstay.core.settings import Settings
from backstay.data_folder import read_operator_token
from backstay.drills.installation import Installation
from backstay.drills.scenario import TOKEN_NANOUSD, Deed, Scenario, target_of
from backstay.health import HealthStore, Report
from backstay.store import Database, EmbeddedPostgres
from backstay.supervisor import Event, supervise

MODEL = "drill"
PROBE = "probe"
"""A model of which an output token costs one nano-dollar and input nothing, where there is a budget: so the most that a
call may cost can be any amount."""
_PROBE = """
[providers.probe]
dialect = "simulator"
[models.probe]
targets = ["probe/exact"]
[targets."probe/exact"]
max_output_tokens = 1_000_000_000
[prices."probe/exact"]
input = 0
output = "0.001"
"""
_STATES_S = 1.0
"""How long Postgres is waited for when it is asked for the targets' health."""
_DRAIN_S = 5.0


class PrivateInstance:
    """What can be done to a private instance, and seen of it beyond its API."""

    def __init__(self, postgres: EmbeddedPostgres, database: Database):
        self._postgres = postgres
        self._database = database
        self._health = HealthStore(database)
        self.went_at: dt.datetime | None = None
        """When Postgres went last; ``None``: it never did."""
        self.came_back_at: dt.datetime | None = None

    async def health(self) -> list[Report] | None:
        """Read what the workers say of their targets; ``None`` while nobody can be asked."""
        with suppress(StoreUnavailable):
            return await self._health.reports(timeout_s=_STATES_S)
        return None

    async def holdings(self, budget_id: str) -> Sequence[Holding]:
        """Read what each worker had of a budget in the last outage. Raises ``StoreUnavailable``."""
        assert self.went_at is not None and self.came_back_at is not None
        return await Burns(self._database).holdings(
            DEFAULT_TENANT, budget_id, since=self.went_at, until=self.came_back_at
        )

    async def do(self, deed: Deed) -> None:
        """Do something to it."""
        match deed:
            case "kill_worker":
                os.kill(_workers()[0], signal.SIGKILL)
            case "stop_postgres":
                self.went_at = dt.datetime.now(dt.UTC)
                await self._postgres.stop()
            case "start_postgres":
                self.came_back_at = dt.datetime.now(dt.UTC)
                await self._postgres.start()
            case "freeze_postgres":
                self.went_at = dt.datetime.now(dt.UTC)
                self._postgres.send_signal(signal.SIGSTOP)
            case "thaw_postgres":
                self.came_back_at = dt.datetime.now(dt.UTC)
                self._postgres.send_signal(signal.SIGCONT)


@asynccontextmanager
async def private_instance(
    scenario: Scenario, targets: Mapping[str, str], session: aiohttp.ClientSession
) -> AsyncGenerator[tuple[Installation, PrivateInstance]]:
    """Run an installation whose targets are simulators at these URLs, until the block ends. Nothing is left of it.

    Raises:
        BackstayError: It could not start.
    """
    with tempfile.TemporaryDirectory(prefix="backstay-drill-") as folder:
        path = Path(folder)
        config = path / "backstay.toml"
        config.write_text(policy_text(scenario, targets))
        postgres = EmbeddedPostgres(path)
        database_url = await postgres.start()
        database = Database(database_url, max_connections=1, name="backstay drill")
        try:
            async with _supervised(_settings(path, config, database_url, scenario.workers)) as url:
                headers = {"authorization": f"Bearer {read_operator_token(path)}"}
                installation = Installation(session, url, headers, model=MODEL)
                yield installation, PrivateInstance(postgres, database)
        finally:
            await database.close()
            postgres.send_signal(signal.SIGCONT)
            await postgres.stop()


def policy_text(scenario: Scenario, targets: Mapping[str, str]) -> str:
    """Write the policy of the private instance."""
    providers = [
        f"[providers.{name}]\ndialect = 'openai'\nbase_url = '{targets[name]}/v1'\nprice_as = 'openai/gpt-4o-mini'\n"
        for name in scenario.targets
    ]
    if scenario.budget is not None:
        prices = f"input = 0\noutput = '{TOKEN_NANOUSD / 1000:g}'"
        providers += [f"[prices.'{target_of(name)}']\n{prices}\n" for name in scenario.targets] + [_PROBE]
    route: dict[str, Any] = {"targets": [target_of(name) for name in scenario.targets]}
    route |= scenario.route.model_dump(exclude_unset=True, exclude_none=True, mode="json")
    return "\n".join([*providers, f"[models.{MODEL}]", *(f"{name} = {_toml(value)}" for name, value in route.items())])


def _toml(value: Any) -> str:
    match value:
        case dict():
            pairs = cast(dict[str, Any], value)
            return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in pairs.items()) + " }"
        case list():
            items = cast(list[Any], value)
            return "[" + ", ".join(map(_toml, items)) + "]"
        case _:
            return json.dumps(value)


def _settings(folder: Path, config: Path, database_url: str, workers: int) -> Settings:
    """Make settings that nothing in the environment changes."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in Settings.model_fields.items()
        if name != "data_dir"
    }
    own: dict[str, Any] = {
        "port": 0, "workers": workers, "data_dir": folder, "config": config, "database_url": SecretStr(database_url),
        "local_models": False, "drain_s": _DRAIN_S, "log_level": "error",
    }  # fmt: skip
    return Settings(**(defaults | own))


@asynccontextmanager
async def _supervised(settings: Settings) -> AsyncGenerator[str]:
    """Run an installation in this process and its children; give its URL."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()

    def hear(event: Event) -> None:
        if event.component == "backstay" and event.state == "ready" and not ready.done():
            ready.set_result(event.detail)

    running = asyncio.create_task(supervise(settings, hear, stop=stop))
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            raise BackstayError("The drill was interrupted.")
        yield ready.result()
    finally:
        stop.set()
        await asyncio.wait((running,))


def _workers() -> list[int]:
    """List this process's children that answer calls."""
    children = [
        int(pid) for listing in Path("/proc/self/task").glob("*/children") for pid in listing.read_text().split()
    ]
    return [pid for pid in children if b"backstay.worker" in _command_line(pid)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
