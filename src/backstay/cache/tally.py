"""Owns the counts of hits and misses between two writes to Postgres."""

import datetime as dt
from typing import Literal

import msgspec

from backstay.core.money import NanoUSD

Outcome = Literal["hit", "semantic", "miss"]


class Tally(msgspec.Struct, kw_only=True):
    """Counts of one tenant, day (UTC), model and feature."""

    tenant_id: str
    day: dt.date
    model: str
    feature: str
    hits: int = 0
    semantic_hits: int = 0
    misses: int = 0
    saved_nanousd: NanoUSD = NanoUSD(0)


class Tallies:
    """Counts that are not in Postgres yet: a killed worker loses the last seconds of them, and no money is in them."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, Outcome], int] = {}
        """All that was counted, by model."""
        self._open: dict[tuple[str, dt.date, str, str], Tally] = {}

    def count(
        self, outcome: Outcome, tenant_id: str, model: str, feature: str | None, *, at_ns: int, saved: NanoUSD | None
    ) -> None:
        """Count one question, and what it saved."""
        self.totals[model, outcome] = self.totals.get((model, outcome), 0) + 1
        day = dt.datetime.fromtimestamp(at_ns / 1e9, dt.UTC).date()
        place = (tenant_id, day, model, feature or "")
        tally = self._open.get(place)
        if tally is None:
            tally = self._open[place] = Tally(tenant_id=tenant_id, day=day, model=model, feature=feature or "")
        tally.hits += outcome == "hit"
        tally.semantic_hits += outcome == "semantic"
        tally.misses += outcome == "miss"
        tally.saved_nanousd = NanoUSD(tally.saved_nanousd + (saved or 0))

    def take(self) -> list[Tally]:
        """Return what was counted, and begin anew."""
        taken, self._open = list(self._open.values()), {}
        return taken

    def put_back(self, tallies: list[Tally]) -> None:
        """Count again what could not be written."""
        for tally in tallies:
            place = (tally.tenant_id, tally.day, tally.model, tally.feature)
            known = self._open.setdefault(place, tally)
            if known is not tally:
                known.hits += tally.hits
                known.semantic_hits += tally.semantic_hits
                known.misses += tally.misses
                known.saved_nanousd = NanoUSD(known.saved_nanousd + tally.saved_nanousd)
