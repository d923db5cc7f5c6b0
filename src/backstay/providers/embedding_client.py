"""Owns embedding for Backstay's own use: texts to vectors through a provider, such as the local models."""

import base64
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.core.errors import ProviderError
from backstay.providers.local_types import EMBEDDING_MODEL
from backstay.providers.types import Provider, ProviderRequest, Timeouts

_TIMEOUTS = Timeouts(connect_s=1.0, total_s=60.0)


class _Item(msgspec.Struct):
    index: int
    embedding: str


class _Answer(msgspec.Struct):
    data: list[_Item]


class ProviderEmbedder:
    """Embeds with a provider that speaks OpenAI's wire. ``find`` returns the one of the policy in force."""

    def __init__(self, find: Callable[[], Provider], *, model_id: str = EMBEDDING_MODEL):
        self._find = find
        self._model_id = model_id

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row of length 1 for each text, in their order. An empty text is read as a blank.

        Raises:
            ProviderError: The provider does not answer, or with an error.
        """
        provider = self._find()
        asked = {"model": self._model_id, "input": [text or " " for text in texts], "encoding_format": "base64"}
        exchange = await provider.send(
            ProviderRequest(
                operation="embeddings",
                model_id=self._model_id,
                body=msgspec.json.encode(asked),
                timeouts=_TIMEOUTS,
            )
        )
        try:
            body = await exchange.read()
        finally:
            await exchange.close()
        if exchange.status != 200:
            raise provider.dialect.read_error(exchange.status, exchange.headers, body)
        return _rows(body, len(texts))


def _rows(body: bytes, size: int) -> npt.NDArray[np.float32]:
    try:
        items = sorted(msgspec.json.decode(body, type=_Answer).data, key=lambda item: item.index)
        rows = [np.frombuffer(base64.b64decode(item.embedding), dtype="<f4") for item in items]
        vectors = np.stack(rows).astype(np.float32)
    except (msgspec.DecodeError, ValueError):
        raise ProviderError("The embedding model gave what are no vectors.") from None
    if len(vectors) != size:
        raise ProviderError(f"The embedding model gave {len(vectors)} vectors for {size} texts.")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
