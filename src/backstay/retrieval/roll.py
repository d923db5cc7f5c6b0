"""Owns which chunks an index in a worker's memory has: which are still there, and who may read each."""

from collections.abc import Collection as Some
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Readers = frozenset[str] | None
"""``None``: everybody."""


class Roll:
    """Some chunks, each at a place of its own."""

    def __init__(self, ids: Ints, readers: Sequence[Readers], documents: Ints):
        """Note chunks with who may read them and the number that ``Fields`` gave their document."""
        self.ids = ids
        self.readers = readers
        self.documents = documents
        self.alive = np.ones(len(ids), dtype=bool)
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        kinds = {each: number for number, each in enumerate(dict.fromkeys(readers))}
        self._kinds = np.array([kinds[each] for each in readers], dtype=np.int32)
        self._may = np.zeros(len(kinds), dtype=bool)
        self._read_by: dict[str, list[int]] = {}
        for each, number in kinds.items():
            self._may[number] = each is None
            for principal in each or ():
                self._read_by.setdefault(principal, []).append(number)

    def __len__(self) -> int:
        return len(self.ids)

    def strike(self, ids: Ints) -> None:
        """Leave out the chunks with these ids, if they are here."""
        if not len(self._sorted):
            return
        places = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        self.alive[self._order[places[self._sorted[places] == ids]]] = False

    def readable(self, principals: Some[str], fits: Bools | None = None) -> Bools:
        """Say which chunks are there, may be read, and are of a document that fits; ``None``: each does."""
        may = self._may.copy()
        for principal in principals:
            may[self._read_by.get(principal, [])] = True
        readable = self.alive if may.all() else self.alive & may[self._kinds]
        return readable if fits is None else readable & fits.take(self.documents, mode="clip")
