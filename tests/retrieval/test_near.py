"""Tests of vectors in memory: what they find beside what looking at each exactly does."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.retrieval.near import Floats, NearIndex, Vectors
from backstay.retrieval.roll import Bools, Readers

_SIZE = 96


def _directions(count: int, seed: int) -> Floats:
    """Vectors around some middles, all on one side of 0 in their first numbers, as those of real models are."""
    chance = np.random.default_rng(seed)
    middles = np.random.default_rng(1).normal(size=(40, _SIZE))
    rows = middles[chance.integers(len(middles), size=count)] + 0.8 * chance.normal(size=(count, _SIZE))
    rows[:, :20] += 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _batch(ids: Sequence[int], rows: Floats, readers: Sequence[Readers] | None = None) -> Vectors:
    numbers = np.array(ids, dtype=np.int64)
    return Vectors(ids=numbers, readers=readers or [None] * len(ids), documents=numbers // 4, rows=rows)


def _filled(rows: Floats, readers: Sequence[Readers] | None = None) -> NearIndex:
    index = NearIndex(rows[:500].mean(axis=0))
    index.update([index.encode(_batch(range(len(rows)), rows, readers))], [])
    return index


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
def test_nearly_all_of_the_nearest_are_found(share: float) -> None:
    """Of the nearest ten that may be read and fit, 98 % are among the hundred, however few those are."""
    rows, asked = _directions(40_000, 2), _directions(60, 3)
    chance = np.random.default_rng(4)
    hidden = chance.random(len(rows)) < 0.2
    fits: Bools = chance.random(len(rows) // 4) < share
    index = _filled(rows, [frozenset({"user:eve"}) if each else None for each in hidden])
    may = ~hidden & fits[np.arange(len(rows)) // 4]
    met = 0.0
    for vector in asked:
        found = index.nearest(vector, ["user:ada"], None if share == 1.0 else fits, 100)
        assert len(found) == 100 and (may[found].all() if share < 1.0 else not hidden[found].any())
        wanted = np.where(may if share < 1.0 else ~hidden, rows @ vector, -2)
        met += len(set(np.argsort(-wanted)[:10].tolist()).intersection(found)) / 10
    assert met / len(asked) >= 0.98


@settings(deadline=None, max_examples=30)
@given(changes=st.lists(st.tuples(st.lists(st.integers(0, 60), unique=True), st.lists(st.integers(0, 60))), max_size=6))
def test_an_index_that_follows_changes_finds_what_one_built_anew_does(
    changes: list[tuple[list[int], list[int]]],
) -> None:
    """Chunks that come again take the place of their older selves; those that are gone are not found."""
    rows = _directions(1000, 5)
    index, now = _filled(rows[:50]), {number: rows[number] for number in range(50)}
    for step, (came, gone) in enumerate(changes):
        new = rows[100 + 100 * step :][: len(came)]
        now = {number: row for number, row in now.items() if number not in gone} | dict(zip(came, new, strict=True))
        index.update([index.encode(_batch(came, new))] if came else [], gone)
    asked = rows[999]
    exact = sorted(now, key=lambda number: -float(now[number] @ asked))
    found = index.nearest(asked, [], None, 200)
    assert sorted(found) == sorted(now)
    near = [float(now[number] @ asked) for number in found]
    assert near == pytest.approx([float(now[number] @ asked) for number in exact], abs=0.01)


def test_many_small_parts_become_one_with_nothing_lost() -> None:
    """What many updates brought is found as what one brought is."""
    rows = _directions(6000, 6)
    whole, index = _filled(rows), NearIndex(rows[:500].mean(axis=0))
    for start in range(0, len(rows), 500):
        index.update([index.encode(_batch(range(start, start + 500), rows[start : start + 500]))], [])
    assert index.size_bytes == whole.size_bytes
    for vector in _directions(5, 7):
        assert index.nearest(vector, [], None, 50) == whole.nearest(vector, [], None, 50)
