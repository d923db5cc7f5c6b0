"""Owns the bodies that requests about vector stores have in common, and the files that they name."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from backstay.access.checks import invalid
from backstay.api.endpoint import read_bytes
from backstay.api.retrieval import RetrievalDeps
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest
from backstay.jobs import Files
from backstay.retrieval.types import Chunking, Principals
from backstay.retrieval.vector_stores import NewFile

T = TypeVar("T", bound=msgspec.Struct)

_CHARS_A_TOKEN = 4
"""About as many as English has. Source: OpenAI, "What are tokens and how to count them?" (2025-08)."""

_AttributeName = Annotated[str, Meta(max_length=64)]
_AttributeText = Annotated[str, Meta(max_length=512)]
Attributes = Annotated[dict[_AttributeName, _AttributeText | float | int | bool], Meta(max_length=16)]


class OwnFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The field ``backstay`` of a file, which OpenAI's SDK sends by ``extra_body``."""

    principals: Principals | None = None
    """Who may read it; ``None``: everybody."""


class Static(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long chunks are, in tokens."""

    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0, le=2048)]


class Chunked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How documents are cut."""

    type: Annotated[str, Meta(pattern="^(auto|static)$")]
    static: Static | None = None


class NewStoreFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file to be put into a vector store."""

    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Chunked | None = None
    backstay: OwnFields = OwnFields()


Named = tuple[str, Mapping[str, Any], Sequence[str] | None]
"""A file's id, its attributes, and who may read it."""


def chunking_of(told: Chunked | None) -> Chunking | None:
    """Return how to cut, in characters; ``None``: as is usual. Raises ``InvalidRequest``."""
    if told is None or told.type == "auto":
        return None
    if told.static is None:
        raise InvalidRequest("chunking_strategy.static is missing.", param="chunking_strategy.static")
    size, overlap = told.static.max_chunk_size_tokens, told.static.chunk_overlap_tokens
    if 2 * overlap > size:
        raise InvalidRequest(
            "chunk_overlap_tokens may be half of max_chunk_size_tokens at most.", param="chunking_strategy.static"
        )  # fmt: skip
    most = min(_CHARS_A_TOKEN * size, 20_000)
    return Chunking(max_chars=most, overlap_chars=min(_CHARS_A_TOKEN * overlap, 2000, most // 2))


async def read_body(request: Request, to: type[T]) -> T:
    """Read a JSON body. Raises ``InvalidRequest``."""
    text = await read_bytes(request)
    try:
        return msgspec.json.decode(text or b"{}", type=to)
    except msgspec.ValidationError as error:
        raise invalid(error, to) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None


class StoreFiles:
    """The step from callers' files to files of vector stores."""

    def __init__(self, files: Files, deps: RetrievalDeps):
        self._files = files
        self._stores = deps.vector_stores
        self._collections = deps.collections

    async def look_up(self, caller: Caller, named: Sequence[Named]) -> list[NewFile]:
        """Find files that the caller may see, each once. Raises ``NotFound``."""
        found: dict[str, NewFile] = {}
        for file_id, attributes, principals in named:
            file = await self._files.find(caller, file_id)
            found[file_id] = NewFile(
                file_id=file_id,
                filename=file.filename or file_id,
                size_bytes=file.size_bytes,
                attributes=attributes,
                principals=principals,
            )
        return list(found.values())

    async def put(self, caller: Caller, store_id: str, files: Sequence[NewFile], batch_id: str | None) -> None:
        """Put files into a store, to be read by who runs jobs."""
        await self._stores.add(caller, store_id, files, batch_id)

    async def forget(self, caller: Caller, file_id: str) -> None:
        """Take a file that is to be deleted out of all stores. Raises ``Forbidden`` where one is somebody else's."""
        stores = await self._stores.stores_of(caller, file_id)
        for store_id in stores:
            await self._stores.require_own(caller, store_id)
        for store_id in stores:
            await self._stores.drop_file(caller, store_id, file_id)
            await self._collections.remove(caller.tenant_id, store_id, [file_id])
