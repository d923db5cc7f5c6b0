"""Prices by the second, in the life of a call: the attempt's own time is billed, whatever came of its usage."""

from decimal import Decimal

import pytest
from gateway_house import ASK, House

from backstay.ledger import PriceBook, PriceOverride
from backstay.providers.simulator import Simulator


@pytest.mark.parametrize("stream", [False, True])
async def test_the_attempts_time_is_billed(house: House, stream: bool):
    """From asking to the last byte, to the millisecond: what the attempt's span shows is what the ledger has."""
    house.offer("m", Simulator("own", script={"tokens_per_second": 500}))
    house.gateway.prices = PriceBook({"own/gpt-4o-mini": PriceOverride(per_second=Decimal("0.002"))})
    await house.call({**ASK, "stream": stream})
    (document,) = house.documents
    _, attempt = document.spans
    (entry,) = document.entries
    assert attempt.duration_ns is not None
    took_ms = -(-attempt.duration_ns // 1_000_000)
    assert took_ms > 0
    assert [(line.unit, line.quantity) for line in entry.lines] == [("duration_ms", took_ms)]
    assert (entry.cost_nanousd, entry.price_source) == (took_ms * 2_000, "backstay.toml")
