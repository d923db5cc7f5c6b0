"""Batches through the official SDK, on a real server."""

from collections.abc import Iterator

import pytest

from job_server import ended, job_server, line, new_key, results, sdk, start_batch
from serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with job_server(tmp_path_factory.mktemp("batches")) as server:
        yield server


def test_a_batch_is_answered(server: Server) -> None:
    """Each line has its answer in the output file, in OpenAI's shape, in the order of the input."""
    client = sdk(server, new_key(server)["key"])
    begun = start_batch(client, [line(number) for number in range(1, 31)], metadata={"run": "one"})
    assert (begun.object, begun.endpoint, begun.metadata) == ("batch", "/v1/chat/completions", {"run": "one"})
    batch = ended(client, begun)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (30, 30, 0)
    assert batch.error_file_id is None
    answers = results(client, batch.output_file_id)
    assert [each["custom_id"] for each in answers] == [f"line-{number}" for number in range(1, 31)]
    assert all(each["error"] is None and each["response"]["status_code"] == 200 for each in answers)
    assert all(each["response"]["body"]["object"] == "chat.completion" for each in answers)
    assert [each.id for each in client.batches.list()] == [batch.id]
