"""Batches through the official SDK, on a real server."""

import json
import time
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from job_server import CHAT, ended, job_server, line, new_key, results, sdk, start_batch

from serving import Server, eventually


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
    shown = server.ask("traces", "--batch", batch.id, "--limit", "100")["traces"]
    assert len(shown) == len({each["trace_id"] for each in shown}) == 30
    assert server.ask("traces", "--batch", "batch_none")["traces"] == []
    used = [each["response"]["body"]["usage"] for each in answers]
    assert batch.usage is not None and batch.model == answers[0]["response"]["body"]["model"]
    assert batch.usage.input_tokens == sum(each["prompt_tokens"] for each in used) > 0
    assert batch.usage.total_tokens == sum(each["total_tokens"] for each in used)
    assert begun.usage is None and begun.model is None


def test_results_may_say_when_they_go(server: Server) -> None:
    """As the SDK sends it, counted from when the files are made; the batch's own file stays."""
    client = sdk(server, new_key(server)["key"])
    after: Any = {"anchor": "created_at", "seconds": 7200}
    batch = ended(client, start_batch(client, [line(1), line(2, model="nowhere")], output_expires_after=after))
    for file_id in (batch.output_file_id, batch.error_file_id):
        assert file_id is not None
        file = client.files.retrieve(file_id)
        assert file.expires_at == file.created_at + 7200
    assert client.files.retrieve(batch.input_file_id).expires_at is None


def test_a_bad_line_fails_alone(server: Server) -> None:
    """Each bad line is in the error file with its number and reason, and all others are answered."""
    client = sdk(server, new_key(server)["key"])
    lines = [line(number) for number in range(1, 41)]
    lines[4] = '{"custom_id": "cut", "method": "POST", '
    lines[9] = line(3)
    lines[14] = line(15, url="/v1/embeddings")
    lines[19] = line(20, stream=True)
    lines[24] = '{"custom_id": "no-body", "method": "POST", "url": "/v1/chat/completions", "body": []}'
    lines[29] = line(30, model="nowhere")
    lines[34] = line(35, model="refusing")
    lines[37] = ""
    batch = ended(client, start_batch(client, lines))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (39, 32, 7)
    assert len(results(client, batch.output_file_id)) == 32
    bad = results(client, batch.error_file_id)
    told = [(each["error"]["line"], each["error"]["code"]) for each in bad if each["error"]]
    assert told == [
        (5, "invalid_line"),
        (10, "duplicate_custom_id"),
        (15, "mismatched_url"),
        (20, "invalid_body"),
        (25, "invalid_body"),
    ]
    assert bad[0]["custom_id"] is None and bad[0]["error"]["message"].startswith("Line 5: ")
    refused = [(each["custom_id"], each["response"]["status_code"]) for each in bad if each["response"]]
    assert refused == [("line-30", 404), ("line-35", 400)]
    assert bad[-1]["response"]["body"]["error"]["message"]


def test_a_batch_without_lines_fails_whole(server: Server) -> None:
    """An empty file is told in the batch's own errors."""
    client = sdk(server, new_key(server)["key"])
    batch = ended(client, start_batch(client, ["", ""]))
    assert batch.status == "failed" and batch.failed_at is not None
    assert batch.errors is not None and batch.errors.data is not None
    assert [each.code for each in batch.errors.data] == ["empty_file"]


def test_a_cancelled_batch_makes_no_more_calls(server: Server) -> None:
    """What was answered is in the output file, and the rest in the error file as never made."""
    client = sdk(server, new_key(server)["key"])
    batch = start_batch(client, [line(number, "slow") for number in range(1, 101)])
    eventually(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    cancelling = client.batches.cancel(batch.id)
    assert cancelling.status in ("cancelling", "cancelled")
    done = ended(client, batch)
    assert done.status == "cancelled" and done.cancelled_at is not None
    answers, rest = results(client, done.output_file_id), results(client, done.error_file_id)
    assert len(answers) <= 32 and len(answers) + len(rest) == 100
    assert {each["error"]["code"] for each in rest} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(ended(client, start_batch(client, [line(1)])).id)


def test_a_batch_whose_calls_find_no_room_can_be_cancelled(server: Server) -> None:
    """Its calls are tried again and again, and not any more once it is cancelled."""
    client = sdk(server, new_key(server)["key"])
    batch = start_batch(client, [line(number, "busy") for number in range(1, 5)])
    eventually(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    time.sleep(1)
    client.batches.cancel(batch.id)
    done = ended(client, batch)
    assert done.status == "cancelled"
    assert [each["error"]["code"] for each in results(client, done.error_file_id)] == ["batch_cancelled"] * 4


def test_a_revoked_key_ends_its_jobs(server: Server) -> None:
    """Calls that were not made when the key was revoked never are."""
    key, admin = new_key(server), new_key(server, "--rights", "admin")
    batch = start_batch(sdk(server, key["key"]), [line(number, "slow") for number in range(1, 61)])
    client = sdk(server, admin["key"])
    eventually(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    server.ask("keys", "revoke", key["id"])
    done = ended(client, batch)
    rest = results(client, done.error_file_id)
    assert done.status == "completed" and len(rest) >= 60 - 32
    assert {each["response"]["status_code"] for each in rest} == {401}
    assert all("revoked" in each["response"]["body"]["error"]["message"] for each in rest)


def test_a_batch_stays_within_its_keys_limits(server: Server) -> None:
    """A key that may make so many calls a minute makes no more in a batch either, and the batch waits."""
    key = new_key(server, "--requests-per-min", "20")
    client = sdk(server, key["key"])
    batch = start_batch(client, [line(number) for number in range(1, 31)])
    eventually(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 20)  # pyright: ignore[reportOptionalMemberAccess]
    time.sleep(2)
    waiting = client.batches.retrieve(batch.id)
    assert waiting.status == "in_progress" and waiting.request_counts is not None
    assert (waiting.request_counts.completed, waiting.request_counts.failed) == (20, 0)
    other = sdk(server, new_key(server)["key"])
    assert ended(other, start_batch(other, [line(1)])).status == "completed"
    client.batches.cancel(batch.id)


def test_what_cannot_be_a_batch_is_refused(server: Server) -> None:
    """Another endpoint, window or file is refused with the field's name, and nothing is begun."""
    client = sdk(server, new_key(server)["key"])
    file = client.files.create(file=("a.jsonl", line(1).encode()), purpose="batch")
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint=cast(Any, "/v1/images"), completion_window="24h")
    assert refused.value.param == "endpoint"
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window=cast(Any, "1h"))
    assert refused.value.param == "completion_window"
    for more, named in (
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "last_active_at", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"extra_body": {"priority": 1}}, "priority"),
    ):
        with pytest.raises(openai.BadRequestError, match=named):
            client.batches.create(
                input_file_id=file.id, endpoint=CHAT, completion_window="24h", **cast(dict[str, Any], more)
            )
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    assert client.batches.list().data == []


def test_other_wires_may_be_batched(server: Server) -> None:
    """Embeddings and Anthropic's messages are run as well, each answered in its own shape."""
    client = sdk(server, new_key(server)["key"])
    for url, body, kind in (
        ("/v1/embeddings", {"model": "quick", "input": "hello"}, "list"),
        ("/v1/messages", {"model": "quick", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}, None),
        ("/v1/responses", {"model": "quick", "input": "hello"}, "response"),
    ):
        text = json.dumps({"custom_id": "one", "method": "POST", "url": url, "body": body})
        file = client.files.create(file=("a.jsonl", text.encode()), purpose="batch")
        made = client.batches.create(input_file_id=file.id, endpoint=cast(Any, url), completion_window="24h")
        batch = ended(client, made)
        (answer,) = results(client, batch.output_file_id)
        assert answer["response"]["body"].get("object") == kind
