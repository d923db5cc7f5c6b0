"""Owns what a lower room asks of a higher one: protocols of one method, whose implementations composition hands in."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.core.caller import Caller


class Embedder(Protocol):
    """Turn texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row of length 1 for each text, in their order.

        Raises:
            ProviderError: The embedding model does not answer.
        """
        ...


OwnOperation = Literal["chat", "embeddings", "rerank"]
"""What calls that Backstay makes for callers of its own API may ask of a model."""


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model answered, on OpenAI's wire."""

    body: bytes
    trace_id: str
    cost_usd: str | None
    """Exact decimal text; ``None``: not known."""


class ModelCalls(Protocol):
    """Make a model call for a caller of Backstay's own API."""

    async def make(self, caller: Caller, operation: OwnOperation, body: Mapping[str, Any]) -> ModelAnswer:
        """Make it like any call of theirs: admitted, limited, paid from their budgets, traced.

        Raises:
            BackstayError: Whatever such a call may end with.
        """
        ...


class ModelStreams(Protocol):
    """Make a chat call for a caller of Backstay's own API, whose text is wanted as it comes."""

    async def stream(
        self, caller: Caller, body: Mapping[str, Any], on_text: Callable[[str], Awaitable[None]]
    ) -> ModelAnswer:
        """Make it as ``ModelCalls`` does, hand each piece of its text over, and return the whole.

        Raises:
            BackstayError: Whatever such a call may end with, or break off with.
        """
        ...


Values = Iterable[tuple[Mapping[str, str], float]]
"""Numbers, each with its labels."""


class AddFamily(Protocol):
    """Show figures whose labels are known only when they are shown."""

    def __call__(self, name: str, help: str, kind: Literal["gauge", "counter"], read: Callable[[], Values], /) -> None:
        """Call ``read`` each time that they are shown."""
        ...
