"""Owns the reading of what a chat model answered on OpenAI's wire."""

import msgspec

from backstay.core.errors import ProviderError
from backstay.core.ports import ModelAnswer


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]


def text_of(told: ModelAnswer, *, whose: str = "answer") -> str:
    """Return the text of a completion. Raises ``ProviderError`` where it is none."""
    try:
        choices = msgspec.json.decode(told.body, type=_Completion).choices
    except msgspec.DecodeError:
        raise ProviderError(f"The {whose} model gave what is no completion.") from None
    return (choices[0].message.content or "") if choices else ""
