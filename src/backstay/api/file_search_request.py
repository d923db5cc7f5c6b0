"""Owns the reading of a response that is asked for with ``file_search``: what to search for, and how to answer."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backstay.access.checks import invalid
from backstay.api.vector_filters import to_filter
from backstay.core.errors import InvalidRequest
from backstay.providers import Fields
from backstay.retrieval import Query
from backstay.retrieval.filters import read_filter
from backstay.retrieval.types import Manner, Turn

PATH = "/v1/responses"
RESULTS = "file_search_call.results"
_LONGEST = 20_000
_MOST_TURNS = 100
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background")


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Item(msgspec.Struct):
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[_Part] = ""
    type: str = "message"


class _Ranking(msgspec.Struct):
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.0


class FileSearchTool(msgspec.Struct):
    """The tool."""

    type: str
    vector_store_ids: Annotated[list[str], Meta(min_length=1)] = []
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 20
    filters: Any = None
    ranking_options: _Ranking | None = None

    def query(self, question: str, principals: Sequence[str]) -> Query:
        """Return what to search for. Raises ``InvalidRequest`` where the filters are none."""
        told = None if self.filters is None else read_filter(to_filter(self.filters, "tools[0].filters"))
        return Query(text=question, limit=self.max_num_results, filter=told, principals=principals)


class _Body(msgspec.Struct):
    model: Annotated[str, Meta(min_length=1)]
    input: str | list[_Item]
    tools: list[FileSearchTool]
    instructions: str | None = None
    stream: bool | None = None
    include: list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None


class FileSearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is understood."""

    model: str
    question: str
    turns: Sequence[Turn]
    """What was said before."""
    search: FileSearchTool
    manner: Manner
    stream: bool
    wants_results: bool
    fields: Fields
    """The body's top level, which a response repeats."""

    @property
    def store_id(self) -> str:
        return self.search.vector_store_ids[0]


def read_file_search(body: bytes) -> FileSearchRequest:
    """Read a request.

    Raises:
        InvalidRequest: It is none, or asks for what an answer from a vector store cannot be.
    """
    try:
        asked = msgspec.json.decode(body, type=_Body)
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise invalid(error, _Body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    _refuse(asked, fields)
    items = [_Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    said = [(each.role or "user", _text(each, place)) for place, each in enumerate(items)]
    question = said[-1][1].strip() if said and said[-1][0] == "user" else ""
    if not question or len(question) > _LONGEST:
        raise InvalidRequest(
            f"The last item of the input must be the user's question, of {_LONGEST:,} characters at most.",
            param="input",
        )
    instructions = [asked.instructions or "", *(text for role, text in said if role in ("system", "developer"))]
    return FileSearchRequest(
        model=asked.model,
        question=question,
        turns=_turns(said[:-1]),
        search=asked.tools[0],
        manner=Manner(
            model=asked.model,
            instructions="\n\n".join(filter(None, instructions))[:_LONGEST],
            user=asked.user or asked.safety_identifier,
            max_tokens=asked.max_output_tokens,
        ),
        stream=bool(asked.stream),
        wants_results=RESULTS in (asked.include or ()),
        fields=fields,
    )


def _turns(said: Sequence[tuple[str, str]]) -> Sequence[Turn]:
    turns = [
        Turn(role="user" if role == "user" else "assistant", content=text[:_LONGEST])
        for role, text in said
        if role in ("user", "assistant") and text
    ]
    return turns[-_MOST_TURNS:]


def _refuse(asked: _Body, fields: Fields) -> None:
    if len(asked.tools) > 1:
        raise InvalidRequest("file_search is answered alone, without other tools.", param="tools")
    if len(asked.tools[0].vector_store_ids) > 1:
        raise InvalidRequest("One vector store is searched at a time.", param="tools[0].vector_store_ids")
    for name in _KEPT_ELSEWHERE:
        if bytes(fields.get(name, b"null")) not in (b"null", b"false"):
            raise InvalidRequest(f"A response that searches files has no `{name}`: send the whole input.", param=name)
    if unknown := next((name for name in asked.include or () if name != RESULTS), None):
        raise InvalidRequest(f"A response that searches files includes no {unknown}.", param="include")


def _text(item: _Item, place: int) -> str:
    if item.type != "message":
        return ""  # a search that was made before, or thoughts: what they led to was said
    if isinstance(item.content, str):
        return item.content
    for number, part in enumerate(item.content):
        if part.type not in ("input_text", "output_text", "refusal"):
            raise InvalidRequest(
                f"A file search reads text alone, no {part.type}.", param=f"input[{place}].content[{number}]"
            )
    return "\n".join(part.text for part in item.content)
