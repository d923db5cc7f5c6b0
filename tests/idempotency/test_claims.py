"""Claims on keys, over a real Postgres: one holder at a time, whoever dies or is cut off."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from backstay.core.clock import SystemClock
from backstay.core.errors import InvalidRequest, StoreUnavailable
from backstay.idempotency import MERGE_CLAIMS, Claim, Claims, KeptAnswer, Slot, Terms, Wanted, check_key, keep_swept
from backstay.idempotency.types import IdempotencyAnswerTooLarge, IdempotencyInProgress, IdempotencyKeyReused
from backstay.records import CallDocument, IntentDocument, interrupted
from backstay.store import Database
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment

TERMS = Terms(lease_s=0.6, confirm_s=0.1, margin_s=0.2, max_bytes=10)
SLOT = Slot("acme", "key_1", "order-1")
HEADERS = (("content-type", "application/json"),)


def wanted(body: bytes = b"{}", *, slot: Slot = SLOT) -> Wanted:
    return Wanted.of(slot, "/v1/x", body, call_id=os.urandom(8).hex(), trace_id=os.urandom(16).hex())


def soon(seconds: float = 0.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
async def workers(database: Database, tenant: str) -> AsyncIterator[tuple[Claims, Claims]]:
    """Two workers; their upkeep does not run."""
    yield Claims(database, SystemClock(), TERMS), Claims(database, SystemClock(), TERMS)


async def claimed(claims: Claims, want: Wanted | None = None) -> Claim:
    found = await claims.claim(want or wanted(), soon())
    assert isinstance(found, Claim)
    return found


async def finished(claim: Claim, body: bytes = b"answer") -> None:
    claim.add(body)
    await claim.keep(HEADERS, is_stream=False)
    claim.end()


async def ship(database: Database, folder: Path, document: CallDocument | bytes) -> None:
    text = document if isinstance(document, bytes) else msgspec.json.encode(document)
    await Shipment(database, [MERGE_CLAIMS], folder).ship([Entry.of(os.urandom(8), (text, b"", b""))])


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "tab\t"])
def test_a_key_is_visible_and_not_too_long(key: str):
    """Anything else is refused; the longest is taken."""
    with pytest.raises(InvalidRequest):
        check_key(key)
    assert check_key("x" * 255) == "x" * 255


async def test_an_answer_is_given_again_by_every_worker(workers: tuple[Claims, Claims]):
    """After the first call is answered, a repeat at either worker gets its answer, and where it was recorded."""
    first = wanted()
    await finished(await claimed(workers[0], first))
    for worker in workers:
        assert await worker.claim(wanted(), soon()) == KeptAnswer(
            trace_id=first.trace_id, headers=HEADERS, body=b"answer"
        )


async def test_another_request_with_the_key_is_refused(workers: tuple[Claims, Claims]):
    """While the first runs and after, at both workers; another API key of the tenant has keys of its own."""
    first = await claimed(workers[0])
    for worker in workers:
        with pytest.raises(IdempotencyKeyReused):
            await worker.claim(wanted(b"other"), soon())
    await claimed(workers[1], wanted(b"other", slot=Slot("acme", "key_2", SLOT.key)))
    await finished(first)
    with pytest.raises(IdempotencyKeyReused):
        await workers[1].claim(wanted(b"other"), soon())


async def test_a_repeat_waits_until_its_time_is_over(workers: tuple[Claims, Claims]):
    """It gets the answer if that comes in time, and is told to try again if not."""
    first = await claimed(workers[0])
    for worker in workers:
        with pytest.raises(IdempotencyInProgress) as caught:
            await worker.claim(wanted(), soon(0.1))
        assert caught.value.retryable and caught.value.retry_after_s
    waiting = [asyncio.create_task(worker.claim(wanted(), soon(5))) for worker in workers]
    await asyncio.sleep(0.1)
    await finished(first)
    found = await asyncio.gather(*waiting)
    assert [each.body for each in found if isinstance(each, KeptAnswer)] == [b"answer", b"answer"]


async def test_a_call_without_a_good_answer_frees_the_key(workers: tuple[Claims, Claims]):
    """The repeat that waits makes the call, once the upkeep has freed the key."""
    upkeep = asyncio.create_task(workers[0].run())
    first = await claimed(workers[0])
    waiting = asyncio.create_task(workers[1].claim(wanted(), soon(5)))
    await asyncio.sleep(0.1)
    first.end()
    assert isinstance(await waiting, Claim)
    upkeep.cancel()
    await asyncio.gather(upkeep, return_exceptions=True)


async def test_too_large_an_answer_is_not_given_again_and_not_paid_twice(workers: tuple[Claims, Claims]):
    """Its repeat is told so."""
    await finished(await claimed(workers[0]), b"x" * 11)
    with pytest.raises(IdempotencyAnswerTooLarge):
        await workers[1].claim(wanted(), soon())


async def test_only_a_holder_without_word_loses_its_key(workers: tuple[Claims, Claims]):
    """With upkeep, a claim outlives its lease; without, it is taken over once it was contested for the lease."""
    upkeep = asyncio.create_task(workers[0].run())
    first = await claimed(workers[0])
    with pytest.raises(IdempotencyInProgress):
        await workers[1].claim(wanted(), soon(3 * TERMS.lease_s + 2))
    assert not first.is_lost
    upkeep.cancel()
    await asyncio.gather(upkeep, return_exceptions=True)
    begun = time.monotonic()
    second = await workers[1].claim(wanted(), soon(5))
    assert isinstance(second, Claim) and time.monotonic() - begun >= TERMS.lease_s * 0.9
    await finished(first, b"late")
    await finished(second, b"right")
    found = await workers[1].claim(wanted(), soon())
    assert isinstance(found, KeptAnswer) and found.body == b"right"


async def test_a_holder_that_cannot_reach_postgres_gives_up_before_it_could_be_taken_over(
    tenant: str, database_url: str
):
    """Its call is cancelled before the lease is over, and its caller told why."""
    cut_off = Database(database_url)
    claims = Claims(cut_off, SystemClock(), msgspec.structs.replace(TERMS, lease_s=3.0, margin_s=1.0))
    begun = time.monotonic()
    claim = await claimed(claims)
    await cut_off.close()
    claims._store._database = Database("postgresql://nobody@127.0.0.1:1/none")  # pyright: ignore[reportPrivateUsage]
    upkeep = asyncio.create_task(claims.run())
    with pytest.raises(StoreUnavailable, match="Idempotency-Key"):
        async with claim.held():
            await asyncio.sleep(30)
    assert 2.0 <= time.monotonic() - begun < 3.5
    upkeep.cancel()
    await asyncio.gather(upkeep, return_exceptions=True)


async def test_an_answer_reaches_postgres_by_way_of_the_journal(
    workers: tuple[Claims, Claims], database: Database, tmp_path: Path
):
    """Postgres goes away when the answer is to be kept: a repeat waits, and gets it once the journal is shipped."""
    claim = await claimed(workers[0])
    workers[0]._store._database = Database("postgresql://nobody@127.0.0.1:1/none")  # pyright: ignore[reportPrivateUsage]
    await finished(claim, b"\x00\xff")
    told = claim.told()
    assert told is not None and told.answer is not None
    with pytest.raises(IdempotencyInProgress):
        await workers[1].claim(wanted(), soon(0.1))
    for _ in range(2):
        await ship(database, tmp_path, CallDocument(tenant_id="acme", spans=(), entries=(), claim=told))
    found = await workers[1].claim(wanted(), soon())
    assert isinstance(found, KeptAnswer) and (found.body, found.headers) == (b"\x00\xff", HEADERS)


async def test_a_dead_workers_journal_frees_its_keys(
    workers: tuple[Claims, Claims], database: Database, tmp_path: Path
):
    """An intent without an outcome frees the key at once; one of an earlier call with the key changes nothing."""
    want = wanted()
    await claimed(workers[0], want)
    intent = IntentDocument(
        tenant_id="acme", call_id=os.urandom(8).hex(), trace_id=want.trace_id, parent_id=None, at_ns=1,
        operation="chat", model="m", target="t", key_id=SLOT.key_id, user_id=None, feature=None, tags=(),
        dialect="openai", idempotency_key=SLOT.key,
    )  # fmt: skip
    await ship(database, tmp_path, interrupted(msgspec.json.encode(intent))[0])
    with pytest.raises(IdempotencyInProgress):
        await workers[1].claim(wanted(), soon())
    dead = msgspec.structs.replace(intent, call_id=want.claim_id)
    await ship(database, tmp_path, interrupted(msgspec.json.encode(dead))[0])
    await claimed(workers[1])


async def test_expired_answers_are_forgotten(database: Database, tenant: str):
    """After its time a key is new again."""
    claims = Claims(database, SystemClock(), msgspec.structs.replace(TERMS, keep_s=0.05))
    await finished(await claimed(claims))
    await asyncio.sleep(0.1)
    await claimed(claims)


async def kept_keys(database: Database) -> list[str]:
    async with database.system() as connection:
        rows = await (await connection.execute("select idempotency_key from idempotency_keys")).fetchall()
    return [row["idempotency_key"] for row in rows]


async def test_expired_rows_are_swept(database: Database, tenant: str):
    """What nobody asks for again is deleted; what is still kept stays."""
    brief = Claims(database, SystemClock(), msgspec.structs.replace(TERMS, keep_s=0.01))
    await finished(await claimed(brief))
    await finished(await claimed(Claims(database, SystemClock(), TERMS), wanted(slot=Slot("acme", "key_1", "other"))))
    await asyncio.sleep(0.1)  # the next sweep after the first is a minute away
    sweeping = asyncio.create_task(keep_swept(database))
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while await kept_keys(database) != ["other"]:  # noqa: ASYNC110 - a deletion is no event
                await asyncio.sleep(0.05)
    sweeping.cancel()
    assert await kept_keys(database) == ["other"]


async def test_a_tenant_sees_only_its_own_keys(workers: tuple[Claims, Claims], database: Database):
    """Row-level security hides one tenant's keys and answers from another."""
    await finished(await claimed(workers[0]))
    async with database.tenant("default") as connection:
        rows = await (await connection.execute("select * from idempotency_keys")).fetchall()
    assert rows == []


async def test_a_call_that_somebody_waits_for_goes_on(workers: tuple[Claims, Claims]):
    """It is cancelled when the last who waits has gone."""
    claim = await claimed(workers[0])
    cancelled = asyncio.Event()
    assert not claim.go_on(cancelled.set)
    waiting = asyncio.create_task(workers[0].claim(wanted(), soon(5)))
    await asyncio.sleep(0.01)
    assert claim.go_on(cancelled.set) and not cancelled.is_set()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert cancelled.is_set()
