"""More than fits, on real sockets: refused unread, a burst waits, slow readers stop the provider, aborts free all."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from gateway_house import Narrow
from overloaded_worker import FRAME, Worker, body, head, worker

LONG = 1 << 20


async def post(worker: Worker, data: Any, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session:
        async with session.post(worker.url + "/chat/completions", data=data, headers=headers) as answer:
            return answer.status, await answer.json()


async def occupy(worker: Worker, count: int, size_bytes: int = 200) -> list[asyncio.Task[tuple[int, Any]]]:
    """Make so many calls that stay for a while."""
    worker.provider.think_s = 1.0
    tasks = [asyncio.create_task(post(worker, body(size_bytes))) for _ in range(count)]
    while worker.provider.requests < count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return tasks


@pytest.mark.parametrize("expect", [True, False], ids=["expects 100", "expects nothing"])
async def test_who_finds_no_room_is_told_before_its_body_is_read(tmp_path: Path, expect: bool):
    """The head alone is answered: 503 in the vendor's shape, when to come again, no 100, and the connection ends."""
    async with worker(tmp_path, calls=1) as full:
        inside = await occupy(full, 1)
        reader, writer = await full.connect()
        writer.write(head(LONG, **({"expect": "100-continue"} if expect else {})) + (b"" if expect else b"x" * 1000))
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        start, _, text = answer.partition(b"\r\n\r\n")
        assert start.startswith(b"HTTP/1.1 503") and b"connection: close" in start and b"retry-after-ms: " in start
        assert json.loads(text)["error"]["code"] == "overloaded"
        assert full.gate.sheds["interactive", "waited"] == 1
        assert [status for status, _ in await asyncio.gather(*inside)] == [200]
        await full.freed()


async def test_an_sdk_that_sends_all_before_it_reads_gets_the_answer(tmp_path: Path):
    """The unread body does not reset the connection: OpenAI's SDK raises its own error with the code, each time."""
    async with worker(tmp_path, calls=1, wait_s=0.01) as full:
        inside = await occupy(full, 1)
        async with openai.AsyncOpenAI(base_url=full.url, api_key="k", max_retries=0) as client:
            for _ in range(5):
                with pytest.raises(openai.InternalServerError) as caught:
                    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * LONG}])
                assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        await asyncio.gather(*inside)
        assert full.provider.requests == 1


async def test_a_sdk_that_tries_again_gets_through(tmp_path: Path):
    """What is refused is worth another try, and the SDK makes it by itself."""
    async with worker(tmp_path, calls=1, wait_s=0.01) as full:
        inside = await occupy(full, 1)
        async with openai.AsyncOpenAI(base_url=full.url, api_key="k", max_retries=5) as client:
            answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * LONG}])
        assert answer.choices[0].message.content == "Hi."
        await asyncio.gather(*inside)
        await full.freed()


async def test_a_burst_waits_a_moment_instead_of_failing(tmp_path: Path):
    """Short calls beyond the room are all answered when places become free in time."""
    async with worker(tmp_path, calls=2, wait_s=10) as busy:
        busy.provider.think_s = 0.02
        answers = await asyncio.gather(*(post(busy, body()) for _ in range(20)))
        assert [status for status, _ in answers] == [200] * 20
        assert busy.gate.waits >= 10
        await busy.freed()


async def test_batch_is_refused_while_interactive_calls_go_in(tmp_path: Path):
    """The header names the priority; one that is none of the two is a 400."""
    async with worker(tmp_path, calls=4) as busy:
        inside = await occupy(busy, 3)
        status, answer = await post(busy, body(), **{"x-backstay-priority": "batch"})
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert busy.gate.sheds["batch", "share"] == 1
        assert (await post(busy, body(), **{"x-backstay-priority": "interactive"}))[0] == 200
        status, answer = await post(busy, body(), **{"x-backstay-priority": "urgent"})
        assert (status, answer["error"]["param"]) == (400, "x-backstay-priority")
        await asyncio.gather(*inside)
        assert (await post(busy, body(), **{"x-backstay-priority": "batch"}))[0] == 200


async def test_a_keys_own_priority_counts_where_the_call_names_none(tmp_path: Path):
    """At the door and at the target alike; the header says otherwise where it is there."""
    of_batch = {"x-key-of-batch": "1"}
    async with worker(tmp_path, calls=10) as busy:
        busy.house.gateway.fleet.of("p/m").concurrency = Narrow()
        inside = await occupy(busy, 1)
        waiting = [
            asyncio.create_task(post(busy, body(), **headers))
            for headers in (of_batch, {**of_batch, "x-backstay-priority": "interactive"}, {})
        ]
        while len(busy.house.gateway.room.lines) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert busy.house.gateway.room.waits == {"interactive": 2, "batch": 1}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*inside, *waiting, return_exceptions=True)
        await busy.freed()
    async with worker(tmp_path / "full", calls=4) as busy:
        inside = await occupy(busy, 3)
        assert (await post(busy, body(), **of_batch))[0] == 503
        assert (await post(busy, body(), **of_batch, **{"x-backstay-priority": "interactive"}))[0] == 200
        await asyncio.gather(*inside)


async def test_a_body_of_untold_length_is_counted_as_it_comes(tmp_path: Path):
    """Chunks beyond the room are refused in the middle; what they held is free again; small calls go on."""

    async def chunks(size_bytes: int) -> AsyncIterator[bytes]:
        whole = body(size_bytes)
        for start in range(0, size_bytes, 100_000):
            yield whole[start : start + 100_000]

    async with worker(tmp_path, size_bytes=2 * LONG) as busy:
        inside = await occupy(busy, 1, LONG)
        status, answer = await post(busy, chunks(LONG))
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert busy.gate.sheds["interactive", "bytes"] == 1
        assert busy.gate.admission.size_bytes == LONG
        assert (await post(busy, body()))[0] == 200
        await asyncio.gather(*inside)
        assert (await post(busy, chunks(LONG)))[0] == 200
        await busy.freed()


async def test_a_body_that_could_never_fit_is_413(tmp_path: Path):
    """Trying again would not help, so it is not called an overload."""
    async with worker(tmp_path, size_bytes=LONG) as small:
        status, answer = await post(small, body(LONG))
        assert (status, answer["error"]["code"]) == (413, "request_too_large")


async def test_a_long_body_arrives_as_it_was(tmp_path: Path):
    """It is sent on in pieces, and every byte of a value is the caller's."""
    odd = '{ "x" : [1.0,\t1e3 ] , "model":"m","messages":[{"content":"%s \\u00fc ü"}], "näme": {"a":  1}}'
    async with worker(tmp_path) as roomy:
        assert (await post(roomy, io.BytesIO((odd % ("y" * 2 * LONG)).encode())))[0] == 200
        expected = '{"x":[1.0,\t1e3 ],"model":"m","messages":[{"content":"%s \\u00fc ü"}],"näme":{"a":  1}}'
        assert roomy.provider.last_body == (expected % ("y" * 2 * LONG)).encode()


async def test_a_reader_that_stops_pauses_the_provider_and_is_cut_in_the_end(tmp_path: Path):
    """Of a stream of 100 MB little is taken from the provider while the caller reads nothing; then all is freed."""
    async with worker(tmp_path, reader_patience_s=1.5) as patient:
        patient.provider.stream_bytes = 100_000_000
        reader, writer = await patient.connect()
        text = body(stream=True)
        writer.write(head(len(text)) + text)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader._transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        await asyncio.sleep(0.7)
        before = patient.provider.sent_bytes
        await asyncio.sleep(0.3)
        assert patient.provider.sent_bytes == before, "the provider is paused"
        assert before < 40 * LONG, "what is in the kernel's buffers"
        assert patient.gate.admission.size_bytes < 20 * LONG
        await patient.freed()
        for _ in range(100):
            if not patient.provider.connections:
                break
            await asyncio.sleep(0.05)
        assert patient.provider.connections == 0
        writer.transport.abort()
        assert [span.status for span in patient.house.spans] == ["cancelled"]


async def test_a_reader_that_is_only_slow_gets_all(tmp_path: Path):
    """Whoever takes something now and then is not cut off."""
    async with worker(tmp_path, reader_patience_s=0.3) as patient:
        patient.provider.stream_bytes = 4_000_000
        reader, writer = await patient.connect()
        text = body(stream=True)
        writer.write(head(len(text)) + text)
        received = 0
        while chunk := await reader.read(400_000):
            received += len(chunk)
            if chunk.endswith(b"0\r\n\r\n"):
                break
            await asyncio.sleep(0.1)
        writer.close()
        assert received > 4_000_000 - len(FRAME)
        await patient.freed()


async def test_an_abort_at_any_moment_frees_everything(tmp_path: Path):
    """Callers go away at random moments of upload, wait and answer: no gauge, task, connection or intent is left."""
    chance = random.Random(4)
    async with worker(tmp_path, calls=6, size_bytes=6 * LONG, wait_s=0.05) as busy:
        tasks = len(asyncio.all_tasks())
        for _ in range(10):
            busy.provider.think_s = chance.choice([0.0, 0.05])
            await asyncio.gather(*(go_away(busy, chance) for _ in range(12)))
        await busy.freed()
        assert (await post(busy, body()))[0] == 200
        await busy.freed()
        intents = [parts[0] for kind, parts in busy.house.journal.entries if kind == "intent"]
        roots = [document.spans[0] for document in busy.house.documents]
        assert len(intents) == sum(root.error_code is None for root in roots) >= 10
        assert {root.status for root in roots if root.error_code is not None} <= {"cancelled"}
        async with asyncio.timeout(10):
            while len(asyncio.all_tasks()) > tasks + busy.provider.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        connector = busy.session.connector
        assert connector is not None
        assert not connector._acquired  # pyright: ignore[reportPrivateUsage]


async def go_away(worker: Worker, chance: random.Random) -> None:
    """Send a request, announced or in chunks, as far as chance wants, and leave at a moment of its choice."""
    text = body(chance.choice([200, LONG]), stream=chance.random() < 0.5)
    chunked = chance.random() < 0.3
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text) if chunked else text
    if chance.random() < 0.4:
        sent = sent[: chance.randrange(len(sent))]
    _, writer = await worker.connect()
    writer.write(head(None if chunked else len(text)) + sent)
    try:
        await asyncio.wait_for(writer.drain(), 0.05)
    except (TimeoutError, OSError):
        pass
    await asyncio.sleep(chance.random() ** 2 * 0.15)
    writer.transport.abort()
