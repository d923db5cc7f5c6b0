"""Owns what the tests of jobs share: a server with simulated models, its SDK, and files of calls."""

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from openai import OpenAI
from openai.types import Batch

from serving import Server, eventually, serving

POLICY = """
[providers.open]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[providers.paced]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { latency_s = { low = 0.0, high = 0.08 }, tokens_per_second = 400, output_tokens = 10 }

[providers.slow]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { latency_s = 2.0, output_tokens = 5 }

[providers.refusing]
dialect = "simulator"
script = { faults = [{ kind = "status", status = 400, message = "no good" }] }

[providers.busy]
dialect = "simulator"
script = { faults = [{ kind = "status", status = 503, message = "no room" }] }

[models.busy]
targets = ["busy/m"]
retries = 0

[models.quick]
targets = ["open/gpt-4o-mini"]

[models.paced]
targets = ["paced/gpt-4o-mini"]

[models.slow]
targets = ["slow/gpt-4o-mini"]

[models.refusing]
targets = ["refusing/m"]
retries = 0
"""
ENDED = ("completed", "failed", "expired", "cancelled")
CHAT = "/v1/chat/completions"


@contextmanager
def job_server(folder: Path, **named: str) -> Generator[Server]:
    """Run a server of the models above."""
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, **{"BACKSTAY_JOBS_CONCURRENCY": "16", **named}) as server:
        yield server


def new_key(server: Server, *options: str) -> dict[str, Any]:
    return server.ask("keys", "create", "--name", "jobs", *options)


def sdk(server: Server, key: str) -> OpenAI:
    """Make an SDK that keeps no connection open between two requests, so that there is nothing to close."""
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, default_headers={"connection": "close"})


def line(number: int, model: str = "quick", url: str = CHAT, **more: Any) -> str:
    """One line of a batch's file."""
    messages = [{"role": "user", "content": f"question {number}"}]
    body = {"model": model, "messages": messages, **more}
    return json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body})


def start_batch(client: OpenAI, lines: Iterable[str], **more: Any) -> Batch:
    """Upload lines and make a batch of them."""
    file = client.files.create(file=("lines.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **more)


def ended(client: OpenAI, batch: Batch, limit_s: float = 60) -> Batch:
    """Wait for the end of a batch."""

    eventually(lambda: client.batches.retrieve(batch.id).status in ENDED, limit_s)
    return client.batches.retrieve(batch.id)


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """Read a result file."""
    if file_id is None:
        return []
    return [json.loads(each) for each in client.files.content(file_id).text.splitlines()]


def job_runner(server: Server) -> psutil.Process | None:
    """Find the process that runs jobs."""
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "backstay.job_runner" in child.cmdline():
                return child
        except psutil.Error:
            continue
    return None


def kill_job_runner(server: Server) -> None:
    """Kill it, and wait until it is gone."""
    eventually(lambda: job_runner(server) is not None)
    victim = job_runner(server)
    assert victim is not None
    victim.kill()
    eventually(lambda: not victim.is_running())
