"""Owns which requests on the vendors' wires are answered from documents, by us, instead of by a target alone."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from backstay.api.collection_models import CollectionModels
from backstay.api.file_search import FileSearches
from backstay.api.file_search_request import PATH as RESPONSES_PATH
from backstay.core.caller import Caller
from backstay.gateway import Sink


class DocumentWires:
    """Takes chat completions whose model is a collection, and responses that search one."""

    def __init__(self, models: CollectionModels, searches: FileSearches):
        self._models = models
        self._searches = searches

    def may_concern(self, path: str, body: bytes) -> bool:
        """Say whether a request may be for us: quickly, as every call is asked about."""
        return self._models.may_concern(path, body) or (path == RESPONSES_PATH and b'"file_search"' in body)

    async def find(
        self, path: str, body: bytes, caller: Caller, headers: Mapping[bytes, bytes]
    ) -> Callable[[Sink], Awaitable[None]] | None:
        """Return what answers a request; ``None``: it is for a target."""
        if path == RESPONSES_PATH:
            is_ours = await self._searches.is_ours(body, caller)
            return partial(self._searches.answer, caller, headers, body) if is_ours else None
        collection = self._models.find(body, caller)
        return None if collection is None else partial(self._models.answer, collection, caller, headers, body)
