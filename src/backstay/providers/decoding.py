"""Owns the decoding of what providers send: bytes to typed values, or the provider's error."""

from typing import TypeVar

import msgspec

from backstay.core.errors import ProviderUnreadable

T = TypeVar("T")


def decode_answer(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Decode bytes of a provider.

    Raises:
        ProviderUnreadable: They are not what the dialect says. Another try may bring a good answer.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProviderUnreadable(f"The provider's answer cannot be read: {error}.") from None
