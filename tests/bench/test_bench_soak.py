"""Budgets are spent to their end by real processes, some of which are killed."""

import asyncio
from pathlib import Path

from bench.soak import Plan, play


def test_a_short_soak_finds_nothing(tmp_path: Path) -> None:
    """Nothing is overspent, refused falsely or leaked; the books balance; what is left can be had; workers died."""
    verdict = asyncio.run(play(Plan(rounds=8, processes=3, callers=8), tmp_path))
    assert verdict.passed, verdict
    assert (verdict.rounds, verdict.least_usable) == (8, 1.0)
    assert verdict.calls > 8 * 10
    assert verdict.kills > 0
