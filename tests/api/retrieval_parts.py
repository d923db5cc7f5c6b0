"""What the API's own tests give its endpoints of collections: no model answers there."""

from collections.abc import Mapping
from typing import Any, Literal

from backstay.api.retrieval import RetrievalDeps
from backstay.core.caller import Caller
from backstay.core.errors import UnknownModel
from backstay.core.ports import ModelAnswer
from backstay.store import Database


class _NoModels:
    async def make(
        self, caller: Caller, operation: Literal["chat", "embeddings"], body: Mapping[str, Any]
    ) -> ModelAnswer:
        raise UnknownModel(f"There is no model {body['model']!r}.", param="model")


def retrieval_deps(database: Database) -> RetrievalDeps:
    """The endpoints' parts over a database."""
    return RetrievalDeps(database, _NoModels())
