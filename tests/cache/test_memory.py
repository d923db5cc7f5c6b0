"""What one worker remembers."""

import msgspec
from asking import ask

from backstay.cache.memory import Kept, Memory
from backstay.cache.types import Answer, Purge
from backstay.core.usage import Usage

HOUR_NS = 3_600_000_000_000


def kept(number: int, *, size: int = 1000, expires_ns: int = HOUR_NS, tenant_id: str = "acme") -> Kept:
    answer = Answer(
        dialect="openai",
        body=bytes(size),
        usage=Usage(),
        target="sim/a",
        trace_id=f"{number:032x}",
        cost_nanousd=None,
        created_ns=number,
        expires_ns=expires_ns,
    )
    return Kept.of(ask({"messages": [{"role": "user", "content": str(number)}]}, tenant_id=tenant_id), answer)


def test_what_was_used_longest_ago_goes_first() -> None:
    """The bound is in bytes, and holds; what was asked for last stays."""
    memory, first, second, third = Memory(5000), kept(1), kept(2), kept(3)
    memory.put(first)
    memory.put(second)
    assert memory.get(first.key, 0) is first
    memory.put(third)
    assert memory.get(second.key, 0) is None and memory.get(first.key, 0) is first
    assert memory.size_bytes == first.size_bytes + third.size_bytes <= 5000
    memory.put(kept(4, size=6000))
    assert len(memory) == 2


def test_what_has_expired_may_stay_for_outages() -> None:
    """An expired answer that may still be wanted is no answer to an ordinary question."""
    memory, first = Memory(5000), kept(1, expires_ns=10)
    first = msgspec.structs.replace(first, answer=msgspec.structs.replace(first.answer, keep_until_ns=20))
    memory.put(first)
    assert memory.get(first.key, 15) is None
    assert memory.get_stale(first.key, 15) is first
    assert memory.get_stale(first.key, 20) is None
    assert memory.get(first.key, 20) is None and memory.size_bytes == 0


def test_what_has_expired_is_gone() -> None:
    """An answer is given until its time is over, and takes no room after."""
    memory, one = Memory(5000), kept(1, expires_ns=10)
    memory.put(one)
    assert memory.get(one.key, 9) is one
    assert memory.get(one.key, 10) is None and memory.size_bytes == 0


def test_a_purge_takes_what_meets_all_of_it() -> None:
    """By tenant, model, feature, trace, time and key; all that are given must hold."""
    memory = Memory(100_000)
    entries = [kept(number) for number in range(4)] + [kept(9, tenant_id="rival")]
    for each in entries:
        memory.put(each)
    assert memory.purge(Purge(tenant_id="acme", model="other")) == 0
    assert memory.purge(Purge(tenant_id="acme", trace_id=f"{1:032x}", feature="search")) == 1
    assert memory.purge(Purge(tenant_id="acme", before_ns=2)) == 1
    assert memory.purge(Purge(tenant_id="acme", keys=(entries[3].key,))) == 1
    assert memory.purge(Purge(tenant_id="acme", model="m")) == 1
    assert memory.purge(Purge(tenant_id="rival")) == 1 and memory.size_bytes == 0
