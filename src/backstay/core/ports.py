"""Owns what a lower room asks of a higher one: protocols of one method, whose implementations composition hands in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

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


Values = Iterable[tuple[Mapping[str, str], float]]
"""Numbers, each with its labels."""


class AddFamily(Protocol):
    """Show figures whose labels are known only when they are shown."""

    def __call__(self, name: str, help: str, kind: Literal["gauge", "counter"], read: Callable[[], Values], /) -> None:
        """Call ``read`` each time that they are shown."""
        ...
