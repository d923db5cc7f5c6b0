"""Owns the reading of a chat completion that a collection is to answer: its question, what was said before, how."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backstay.access.checks import invalid
from backstay.core.errors import InvalidRequest
from backstay.retrieval import Query
from backstay.retrieval.filters import read_filter
from backstay.retrieval.types import Manner, Principals, Turn

_LONGEST = 20_000
"""Of a question, in characters."""
_MOST_TURNS = 100
"""Of a conversation; what was said before them is left out."""
_INSTRUCTING = ("system", "developer")


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Format(msgspec.Struct):
    type: str = "text"


class Own(msgspec.Struct, forbid_unknown_fields=True):
    """The field ``backstay``, which OpenAI's SDK sends by ``extra_body``."""

    principals: Principals = ()
    filter: dict[str, Any] | None = None


class ModelRequest(msgspec.Struct):
    """A request whose model is a collection. Fields about the choice of words (temperature, seed…) do nothing."""

    model: str
    messages: Annotated[list[_Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: int | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: _Format | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None
    backstay: Own = msgspec.field(default_factory=Own)

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def question(self) -> str:
        return _text(self.messages[-1], len(self.messages) - 1)

    @property
    def turns(self) -> Sequence[Turn]:
        """What was said before the question."""
        said: list[Turn] = []
        for place, message in enumerate(self.messages[:-1]):
            text = _text(message, place)
            if message.role in ("user", "assistant") and text:
                said.append(Turn(role="user" if message.role == "user" else "assistant", content=text[:_LONGEST]))
        return said[-_MOST_TURNS:]

    @property
    def manner(self) -> Manner:
        instructions = [_text(each, place) for place, each in enumerate(self.messages) if each.role in _INSTRUCTING]
        return Manner(
            instructions="\n\n".join(filter(None, instructions))[:_LONGEST],
            user=self.user or self.safety_identifier,
            max_tokens=self.max_completion_tokens or self.max_tokens,
        )

    def query(self, principals: Sequence[str]) -> Query:
        """Return what to search for. Raises ``InvalidRequest`` where the filter is none."""
        return Query(text=self.question, filter=read_filter(self.backstay.filter), principals=principals)


def read_request(body: bytes) -> ModelRequest:
    """Read a request.

    Raises:
        InvalidRequest: It is none, or asks for what an answer from documents cannot be.
    """
    try:
        asked = msgspec.json.decode(body, type=ModelRequest)
    except msgspec.ValidationError as error:
        raise invalid(error, ModelRequest) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    last = len(asked.messages) - 1
    if asked.messages[last].role != "user" or not asked.question.strip():
        raise InvalidRequest("The last message must be the user's question.", param=f"messages[{last}]")
    if len(asked.question) > _LONGEST:
        raise InvalidRequest(f"A question has {_LONGEST:,} characters at most.", param=f"messages[{last}].content")
    for name, is_asked in (
        ("n", (asked.n or 1) > 1),
        ("tools", bool(asked.tools)),
        ("functions", bool(asked.functions)),
        ("response_format", asked.response_format is not None and asked.response_format.type != "text"),
        ("logprobs", bool(asked.logprobs)),
        ("modalities", bool(asked.modalities) and asked.modalities != ["text"]),
    ):
        if is_asked:
            raise InvalidRequest(
                f"A collection answers once, in text: it has no `{name}`. Leave it out.", param=name
            )  # fmt: skip
    return asked


def _text(message: _Message, place: int) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for number, part in enumerate(message.content):
        if part.type not in ("text", "refusal"):
            raise InvalidRequest(
                f"A collection reads text alone, no {part.type}.", param=f"messages[{place}].content[{number}]"
            )
    return "\n".join(part.text for part in message.content)
