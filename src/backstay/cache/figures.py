"""Owns the figures of one worker's cache that are shown to Prometheus: read when they are shown."""

from backstay.cache.cache import Cache
from backstay.core.ports import AddFamily, Values


def watch(cache: Cache, add_family: AddFamily) -> None:
    """Show how often questions found an answer, which were let go of, and what is at hand."""

    def hits() -> Values:
        totals = cache.tallies.totals.items()
        return [({"model": model, "kind": kind}, n) for (model, kind), n in totals if kind != "miss"]

    def misses() -> Values:
        return [({"model": model}, n) for (model, kind), n in cache.tallies.totals.items() if kind == "miss"]

    def joins() -> Values:
        return [({"model": model}, n) for model, n in cache.joins.items()]

    add_family("backstay_cache_hits_total", "Kept answers given.", "counter", hits)
    add_family("backstay_cache_misses_total", "Answers that the model gave.", "counter", misses)
    add_family("backstay_cache_joins_total", "Calls that waited for an equal one's answer.", "counter", joins)
    add_family("backstay_cache_purges_total", "Purges asked for here.", "counter", lambda: [({}, cache.purges)])
    add_family(
        "backstay_cache_purged_total", "Shared answers that purges let go.", "counter", lambda: [({}, cache.purged)]
    )
    add_family("backstay_cache_memory_bytes", "Answers at hand.", "gauge", lambda: [({}, cache.memory.size_bytes)])
