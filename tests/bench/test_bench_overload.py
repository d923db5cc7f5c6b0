"""A worker under more long requests than fit, slow and aborting ones among them: real processes, real Postgres."""

import asyncio
from pathlib import Path

from bench.overload import Outcome, Place, Plan, press, upstream
from bench.processes import find_child

from serving import Server, serving

MIB = 1024 * 1024
PLAN = Plan(callers=12, body_bytes=8 * MIB, waves=2, peak_mib=512, left_mib=256)

POLICY = """
[providers.far]
dialect = "openai"
base_url = "http://127.0.0.1:{port}/v1"

[models.m]
targets = ["far/gpt-4o-mini"]
"""


async def _press(folder: Path) -> Outcome:
    async with upstream() as port:
        (folder / "backstay.toml").write_text(POLICY.format(port=port))
        running = serving(folder, BACKSTAY_MAX_BYTES_IN_FLIGHT=str(32 * MIB))
        server: Server = await asyncio.to_thread(running.__enter__)
        try:
            made = await asyncio.to_thread(server.ask, "keys", "create", "--name", "overload")
            worker = find_child(server.process.pid, "backstay.worker")
            port = int(server.url.rpartition(":")[2])
            return await press(PLAN, Place(port=port, key=made["key"], worker=worker, model="m"))
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


def test_a_worker_lives_through_more_than_fits(tmp_path: Path) -> None:
    """Each long call is answered or refused, small ones are answered, memory stays bounded, and nothing is left."""
    outcome = asyncio.run(_press(tmp_path))
    assert outcome.problems(PLAN) == []
    assert sum(count for name, count in outcome.statuses.items() if name.endswith("503")) > 0, "not all fit"
