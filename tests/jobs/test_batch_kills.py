"""A batch survives the death of the process that runs it."""

import os
import time
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
from job_server import ended, job_server, kill_job_runner, line, new_key, results, sdk, start_batch

from serving import Server, eventually

LINES = int(os.environ.get("BACKSTAY_TEST_BATCH_LINES", "1500"))
"""10,000 in the measurement of the decision record; each of them goes through the same code."""
INPUT_USD, OUTPUT_USD = Decimal("0.15") / 1_000_000, Decimal("0.60") / 1_000_000
"""A token's price of gpt-4o-mini."""


def test_a_batch_survives_two_kills(tmp_path: Path) -> None:
    """Each line is answered once and charged once, though the process is killed twice in the middle of calls."""
    with job_server(tmp_path, BACKSTAY_JOBS_CONCURRENCY="32") as server:
        client = sdk(server, new_key(server)["key"])
        began = time.monotonic()
        batch = start_batch(client, [line(number, "paced") for number in range(LINES)])
        for share in (3, 2):
            eventually(lambda: completed(client.batches.retrieve(batch.id)) > LINES // share, 120)  # noqa: B023
            assert client.batches.retrieve(batch.id).status == "in_progress"
            kill_job_runner(server)
        batch = ended(client, batch, 240)
        print(f"{LINES} lines in {time.monotonic() - began:.1f} s, with two kills")
        assert (batch.status, completed(batch)) == ("completed", LINES)
        answers = results(client, batch.output_file_id)
        assert [each["custom_id"] for each in answers] == [f"line-{number}" for number in range(LINES)]
        usage = sum((Counter(numbers(each["response"]["body"]["usage"])) for each in answers), Counter[str]())
        expected = usage["prompt_tokens"] * INPUT_USD + usage["completion_tokens"] * OUTPUT_USD
        total = server.ask("costs")["total"]
        assert Decimal(total["cost_usd"]) == expected
        assert total["calls"] - total["unknown_cost_calls"] == LINES
        assert 0 < total["unknown_cost_calls"] <= 64  # those that were cut: what they came to, nobody knows


def test_a_whole_server_may_be_killed(tmp_path: Path) -> None:
    """A batch goes on when the server is started again."""
    with job_server(tmp_path, BACKSTAY_JOBS_CONCURRENCY="32") as server:
        made = new_key(server)["key"]
        client = sdk(server, made)
        batch = start_batch(client, [line(number, "paced") for number in range(400)])
        eventually(lambda: completed(client.batches.retrieve(batch.id)) > 50)
        kill_all(server)
    with job_server(tmp_path, BACKSTAY_JOBS_CONCURRENCY="32") as server:
        client = sdk(server, made)
        batch = ended(client, batch)
        assert (batch.status, completed(batch)) == ("completed", 400)
        total = server.ask("costs")["total"]
        assert total["calls"] - total["unknown_cost_calls"] == 400


def completed(batch: Any) -> int:
    assert batch.request_counts is not None
    return batch.request_counts.completed


def numbers(usage: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in usage.items() if isinstance(value, int)}


def kill_all(server: Server) -> None:
    """Kill the supervisor and all below it, Postgres too: the supervisor first, as it would start others."""
    supervisor = psutil.Process(server.process.pid)
    below = supervisor.children(recursive=True)
    supervisor.kill()
    server.process.wait(10)
    for process in below:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
