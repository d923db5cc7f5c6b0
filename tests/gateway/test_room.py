"""Calls that wait for room at targets, through the whole gateway: in turn, woken where it helps, nothing left over."""

import asyncio
import json
from collections.abc import Callable

import msgspec
import pytest
from gateway_house import ASK, CALLER, House, MemorySink, Narrow

from backstay.core.caller import Priority
from backstay.core.errors import TargetsUnavailable
from backstay.core.ports import Values
from backstay.gateway import Incoming, Models, RetryPolicy, Route, call
from backstay.gateway.lines import Waiter
from backstay.gateway.room import Room, watch
from backstay.health import RateLimits
from backstay.providers import OPENAI
from backstay.providers.simulator import Simulator


async def ask(
    house: House, tenant_id: str = "acme", priority: Priority = "interactive", *, model: str = "m"
) -> MemorySink:
    incoming = Incoming(
        operation="chat", path="/v1/chat/completions", dialect=OPENAI, priority=priority,
        caller=msgspec.structs.replace(CALLER, tenant_id=tenant_id),
        body=json.dumps({"model": model, **ASK}).encode(),
    )  # fmt: skip
    sink = MemorySink()
    async with asyncio.timeout(20):
        await call(house.gateway, incoming, sink)
    return sink


def narrow(house: House, name: str = "one") -> None:
    house.gateway.fleet.of(f"{name}/gpt-4o-mini").concurrency = Narrow()


def simulator(name: str = "one", latency_s: float = 0.01) -> Simulator:
    return Simulator(name, script={"answer": "echo", "latency_s": latency_s})


async def in_order(house: House, *asked: tuple[int, str, Priority]) -> list[tuple[str, Priority]]:
    """Ask at once, so many times each, and tell in which order the calls ended."""
    ended: list[tuple[str, Priority]] = []

    async def one(tenant_id: str, priority: Priority) -> None:
        sink = await ask(house, tenant_id, priority)
        assert sink.status == 200
        ended.append((tenant_id, priority))

    await asyncio.gather(*(one(tenant, priority) for times, tenant, priority in asked for _ in range(times)))
    return ended


async def test_tenants_take_turns_at_a_target(house: House):
    """A tenant with twelve calls in line does not hold up one with two: every second place is the other one's."""
    house.offer("m", simulator())
    narrow(house)
    ended = await in_order(house, (12, "acme", "interactive"), (2, "bolt", "interactive"))
    assert [tenant for tenant, _ in ended[:5]].count("bolt") == 2


async def test_interactive_calls_go_before_batch_calls(house: House):
    """What can be had later waits, though it came first, but for the call that was there before anybody waited."""
    house.offer("m", simulator())
    narrow(house)
    ended = await in_order(house, (5, "acme", "batch"), (5, "acme", "interactive"))
    assert [priority for _, priority in ended] == ["batch", *["interactive"] * 5, *["batch"] * 4]


async def test_who_comes_takes_no_place_that_others_wait_for(house: House):
    """Newcomers stand behind those that wait, even when they come at the very moment in which a place is free."""
    house.offer("m", simulator(latency_s=0.02))
    narrow(house)
    ended: list[str] = []

    async def one(name: str) -> None:
        await ask(house)
        ended.append(name)

    early = [asyncio.create_task(one(f"early {number}")) for number in range(4)]
    late: list[asyncio.Task[None]] = []
    while not all(task.done() for task in early):
        late.append(asyncio.create_task(one("late")))
        await asyncio.sleep(0.005)
    assert "late" not in ended[:4]
    await asyncio.gather(*early, *late)
    assert house.gateway.room.lines.lengths() == {}


async def test_a_free_place_wakes_whom_it_helps(house: House):
    """Calls for a target that stays full do not hold up one for another target, which is woken as its place is free."""
    house.offer("full", simulator("one", latency_s=1.0))
    full = [*house.gateway.models]
    house.offer("m", simulator("two", latency_s=0.03))
    house.gateway.models = Models({model.name: model for model in [*full, *house.gateway.models]})
    narrow(house, "one")
    narrow(house, "two")
    long = [asyncio.create_task(ask(house, model="full")) for _ in range(3)]
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(ask(house) for _ in range(4)))
    took_s = asyncio.get_running_loop().time() - began
    assert took_s < 0.6, "each woken at once and none by looking again after a quarter of a second"
    await asyncio.gather(*long)


async def test_a_call_goes_to_whichever_of_its_targets_has_room_first(house: House):
    """It stands in line at both, and in neither once it is sent."""
    house.offer("m", simulator("one", latency_s=0.5), simulator("two", latency_s=0.05))
    narrow(house, "one")
    narrow(house, "two")
    sinks = await asyncio.gather(*(ask(house) for _ in range(4)))
    assert sorted(sink.headers["x-backstay-target"][:3] for sink in sinks) == ["one", "two", "two", "two"]
    assert house.gateway.room.lines.lengths() == {}


async def test_a_rate_limit_is_waited_for_in_turn(house: House):
    """Who waits for a minute's requests to come back is sent fairly too, and the target never says 429."""
    house.offer("m", simulator(latency_s=0.0))
    house.gateway.fleet.configure({"one/gpt-4o-mini": RateLimits(requests_per_min=1200)})
    health = house.gateway.fleet.of("one/gpt-4o-mini")
    health.quota.take(house.gateway.clock.monotonic_ns() * 1e-9, 0)
    for _ in range(1199):
        health.quota.take(house.gateway.clock.monotonic_ns() * 1e-9, 0)
    ended = await in_order(house, (3, "acme", "batch"), (6, "acme", "interactive"), (1, "bolt", "interactive"))
    assert [priority for _, priority in ended[-3:]].count("batch") >= 2
    assert ("bolt", "interactive") in ended[:4]
    assert health.ended == {"ok": 10}


async def test_who_gives_up_leaves_nothing(house: House):
    """Cancelled while it waits, or out of time: its place is free, and the next one's turn comes."""
    house.offer("m", simulator(latency_s=0.2), route=Route(retry=RetryPolicy(queue_s=0.05)))
    narrow(house)
    inside = asyncio.create_task(ask(house))
    await asyncio.sleep(0.02)
    cancelled = asyncio.create_task(ask(house))
    late = asyncio.create_task(ask(house))
    await asyncio.sleep(0.02)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await late).json["error"]["code"] == "targets_unavailable"
    assert (len(house.gateway.room.lines), house.gateway.room.lines.lengths()) == (0, {})
    assert (await inside).status == 200
    assert house.gateway.room.waits == {"interactive": 2, "batch": 0}
    assert 0.05 < house.gateway.room.waited_s["interactive"] < 0.2


async def test_who_waits_is_shown():
    """For Prometheus: by target and priority, with how long it took."""
    room, families = Room(), dict[str, Callable[[], Values]]()
    watch(room, lambda name, help, kind, read: families.__setitem__(name, read))
    waiters = [Waiter(tenant_id="acme", priority="batch"), Waiter(tenant_id="acme", priority="interactive")]
    waits = [asyncio.create_task(room.wait(waiters[0], frozenset({"one"}), 0.02))]
    waits.append(asyncio.create_task(room.wait(waiters[1], frozenset({"one", "two"}), 0.02)))
    await asyncio.sleep(0)
    assert list(families["backstay_room_waiting"]()) == [({}, 2)]
    assert {labels["target"]: n for labels, n in families["backstay_target_waiting"]()} == {"one": 2, "two": 1}
    await asyncio.gather(*waits)
    for waiter in waiters:
        room.leave(waiter)
    by_priority = {
        name: {labels["priority"]: n for labels, n in read()} for name, read in families.items() if "_total" in name
    }
    assert by_priority["backstay_room_waits_total"] == {"interactive": 1, "batch": 1}
    assert all(0.02 <= n < 1 for n in by_priority["backstay_room_wait_seconds_total"].values())
    assert by_priority["backstay_room_refusals_total"] == {"interactive": 0, "batch": 0}
    assert list(families["backstay_target_waiting"]()) == []


async def test_full_lines_refuse_the_lowest_priority_first():
    """A batch call that waits goes for an interactive one; where there is none, the newcomer is refused."""
    room, at = Room(most=2), frozenset({"one"})
    batch = [Waiter(tenant_id="acme", priority="batch") for _ in range(2)]
    waits = [asyncio.create_task(room.wait(each, at, 5.0)) for each in batch]
    await asyncio.sleep(0)
    interactive = [Waiter(tenant_id="acme", priority="interactive") for _ in range(3)]
    waits += [asyncio.create_task(room.wait(each, at, 5.0)) for each in interactive]
    await asyncio.sleep(0.01)
    refused = [task for task in waits if task.done()]
    assert refused == [*waits[:2], waits[4]] and all(
        isinstance(task.exception(), TargetsUnavailable) for task in refused
    )
    assert room.refusals == {"interactive": 1, "batch": 2}
    room.wake("another")
    await asyncio.sleep(0)
    assert not waits[2].done()
    room.wake("one")
    await waits[2]
    room.leave(interactive[0])
    await waits[3]
    room.leave(interactive[1])
    assert room.lines.lengths() == {}
