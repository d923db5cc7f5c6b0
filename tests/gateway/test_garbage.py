"""Tests that a call leaves nothing behind that only the garbage collector would find: its request may be megabytes."""

import gc
from collections import Counter

import pytest
from gateway_house import WIRES, House

from backstay.providers.simulator import Simulator


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_freed_when_it_ends(house: House, wire: str, stream: bool):
    """No part of it refers to itself."""
    house.offer("m", Simulator("sim", script={"tokens_per_second": 5000}))
    dialect, body = WIRES[wire]
    await house.call({**body, "stream": stream}, dialect=dialect)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            await house.call({**body, "stream": stream}, dialect=dialect)
        gc.collect()
        kinds = Counter(type(each).__module__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert {module: number for module, number in kinds.items() if module.startswith("backstay")} == {}
