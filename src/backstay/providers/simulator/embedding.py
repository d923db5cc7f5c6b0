"""Owns simulated embeddings: unit vectors made from a hash of the text, so that unequal texts are unrelated."""

import hashlib
import math
from array import array

from backstay.core.errors import InvalidRequest

DEFAULT_DIMENSIONS = 1536
"""Those of ``text-embedding-3-small``."""

MAX_DIMENSIONS = 8192


def embed(text: str, dimensions: int | None) -> bytes:
    """Make the vector of a text, as little-endian float32. Raises ``InvalidRequest`` for impossible dimensions."""
    size = DEFAULT_DIMENSIONS if dimensions is None else dimensions
    if not 1 <= size <= MAX_DIMENSIONS:
        raise InvalidRequest(f"dimensions must be from 1 to {MAX_DIMENSIONS}.", param="dimensions")
    values = array("h", hashlib.shake_128(text.encode()).digest(2 * size))
    length = math.hypot(*values) or 1.0
    return array("f", [value / length for value in values]).tobytes()
