"""Owns what a lower room asks of a higher one: protocols of one method, whose implementations composition hands in."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Embedder(Protocol):
    """Turn texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row of length 1 for each text, in their order.

        Raises:
            ProviderError: The embedding model does not answer.
        """
        ...
