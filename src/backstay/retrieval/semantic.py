"""Owns where a text is cut by meaning: where neighbouring parts are least alike, within the bound of a chunk."""

import itertools
import math
from collections.abc import Iterator, Sequence

from backstay.retrieval.types import Span


def most_unlike(parts: Sequence[Span], likeness: Sequence[float], most: int, overlap: int = 0) -> Iterator[Span]:
    """Cut between parts so that the likeness of those on both sides of a cut, all cuts together, is the least.

    A cut has its price even where neighbours are quite unlike, so that there are no more of them than are needed.

    Args:
        likeness: Of each part and the next one.
        most: Of a chunk, in characters; only a part that is longer by itself goes beyond.
        overlap: With how much of the last chunk's end the next one may begin, as far as it has room.
    """
    prices = [0.0, *(max(each, 0.0) + 1e-6 for each in likeness)]
    least = [0.0] + [math.inf] * len(parts)
    begins = [0] * (len(parts) + 1)
    for end in range(1, len(parts) + 1):
        begin = end - 1
        while begin >= 0 and (begin == end - 1 or parts[end - 1][1] - parts[begin][0] <= most):
            if (price := least[begin] + prices[begin]) < least[end]:
                least[end], begins[end] = price, begin
            begin -= 1
    cuts = [len(parts)]
    while cuts[-1]:
        cuts.append(begins[cuts[-1]])
    cuts.reverse()
    for begin, end in itertools.pairwise(cuts):
        stop, first = parts[end - 1][1], begin
        while first > 0 and parts[begin - 1][1] - parts[first - 1][0] <= overlap and stop - parts[first - 1][0] <= most:
            first -= 1
        yield parts[first][0], stop
