"""Owns vectors in a worker's memory: which chunks that may be read are nearest to a query, nearly exactly.

Each vector is kept twice: one bit a dimension, by which the few thousand that may be near are told from all others,
and one byte a dimension, by which those are put into order. Where few chunks may be read or meet a filter, each of them
is looked at by its bytes. What is shown goes by the exact vectors, which Postgres has.
"""

from collections.abc import Collection as Some
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.retrieval.roll import Bools, Ints, Readers, Roll

Floats = npt.NDArray[np.float32]

_LOOKED_AT = 5000
"""Chunks that are looked at by their bytes, at least."""
_LOOKED_AT_SHARE = 0.05
_AT_ONCE = 256
_MERGE_SHARE = 0.1
"""When the small parts together have so many chunks of the large one's, all become one."""


class Vectors(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of some chunks, one a row, with who may read each and the number of its document."""

    ids: Ints
    readers: Sequence[Readers]
    documents: Ints
    rows: Floats


def bytes_of(dimensions: int) -> int:
    """Return how many bytes of memory one chunk takes."""
    return dimensions + 8 * -(-dimensions // 64) + 64


class Part:
    """Vectors of some chunks: their bytes, by which length to multiply these, and their bits, 64 of each in a row."""

    def __init__(
        self, roll: Roll, codes: npt.NDArray[np.int8], scales: Floats, bits: npt.NDArray[np.uint64]
    ):  # fmt: skip
        self.roll = roll
        self.codes = codes
        self.scales = scales
        self.bits = bits

    def nearest(self, vector: Floats, bits: npt.NDArray[np.uint64], may: Bools) -> tuple[Ints, Floats]:
        """Return the ids of those that may be near among some, with their cosines."""
        places = np.flatnonzero(may)
        most = max(_LOOKED_AT, int(_LOOKED_AT_SHARE * len(self.roll)))
        if len(places) > most:
            # To pick columns out costs more than to look at all, unless it is a small share of them.
            some = self.bits[:, places] if 4 * len(places) < len(self.roll) else self.bits
            apart = np.zeros(some.shape[1], dtype=np.uint16)
            for column, asked in zip(some, bits, strict=True):
                apart += np.bitwise_count(column ^ asked)
            if some is self.bits:
                apart = apart[places]
            # The distance at which there are enough, by counting: there are few different ones.
            enough = int(np.searchsorted(np.cumsum(np.bincount(apart)), most))
            places = places[apart <= enough]
        return self.roll.ids[places], self._cosines(places, vector)

    def _cosines(self, places: Ints, vector: Floats) -> Floats:
        """Multiply in small steps, whose numbers stay in the processor's cache."""
        found = np.empty(len(places), dtype=np.float32)
        room = np.empty((_AT_ONCE, len(vector)), dtype=np.float32)
        for start in range(0, len(places), _AT_ONCE):
            own = places[start : start + _AT_ONCE]
            rows = room[: len(own)]
            rows[:] = self.codes[own]
            np.dot(rows, vector, out=found[start : start + _AT_ONCE])
        return found * self.scales[places]


class NearIndex:
    """The vectors of one generation."""

    def __init__(self, middle: Floats):
        """Begin without any. ``middle``: about where vectors are; to which side of it one is makes its bits."""
        self._middle = middle
        self._parts: tuple[Part, ...] = ()

    @property
    def size_bytes(self) -> int:
        """How much memory it takes, about."""
        return sum(len(part.roll) for part in self._parts) * bytes_of(len(self._middle))

    def encode(self, batch: Vectors) -> Part:
        """Make of vectors what is kept of them."""
        scales = np.abs(batch.rows).max(axis=1) / np.float32(127)
        codes = np.rint(batch.rows / np.maximum(scales, np.float32(1e-9))[:, np.newaxis]).astype(np.int8)
        roll = Roll(batch.ids, batch.readers, batch.documents)
        return Part(roll, codes, scales, _bits(batch.rows - self._middle))

    def update(self, new: Sequence[Part], gone: Sequence[int]) -> None:
        """Take in chunks, in the place of older ones with their ids, and leave out those that are gone."""
        struck = np.concatenate([np.array(gone, dtype=np.int64), *(each.roll.ids for each in new)])
        for part in self._parts:
            part.roll.strike(struck)
        parts = (*self._parts, *new)
        large = len(parts[0].roll) if parts else 0
        if sum(len(part.roll) for part in parts[1:]) > max(1000, _MERGE_SHARE * large):
            parts = (_joined(parts),)
        self._parts = parts

    def nearest(self, vector: Floats, principals: Some[str], fits: Bools | None, limit: int) -> list[int]:
        """Return the ids of the nearest that may be read and fit, the nearest first."""
        bits = _bits(vector[np.newaxis] - self._middle)[:, 0]
        found = [part.nearest(vector, bits, part.roll.readable(principals, fits)) for part in self._parts]
        ids = np.concatenate([np.zeros(0, np.int64), *(each for each, _ in found)])
        cosines = np.concatenate([np.zeros(0, np.float32), *(each for _, each in found)])
        if len(ids) > limit:
            best = np.argpartition(-cosines, limit)[:limit]
            ids, cosines = ids[best], cosines[best]
        return ids[np.lexsort((ids, -cosines))].tolist()


def _bits(rows: Floats) -> npt.NDArray[np.uint64]:
    """Write for each row on which side of 0 its numbers are, 64 to a number; those of one row are a column."""
    packed = np.packbits(rows > 0, axis=1)
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _joined(parts: Sequence[Part]) -> Part:
    kept = [np.flatnonzero(part.roll.alive) for part in parts]
    pairs = list(zip(parts, kept, strict=True))
    roll = Roll(
        np.concatenate([part.roll.ids[places] for part, places in pairs]),
        [part.roll.readers[place] for part, places in pairs for place in places.tolist()],
        np.concatenate([part.roll.documents[places] for part, places in pairs]),
    )
    return Part(
        roll,
        np.concatenate([part.codes[places] for part, places in pairs]),
        np.concatenate([part.scales[places] for part, places in pairs]),
        np.concatenate([part.bits[:, places] for part, places in pairs], axis=1),
    )
