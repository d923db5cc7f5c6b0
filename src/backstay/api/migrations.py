"""Owns the change of a collection's model or chunking on Backstay's own API, while it is searched."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backstay.access import AuditLog
from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post
from backstay.core.errors import Conflict, NotFound, ProviderError, UnknownModel
from backstay.retrieval import Embeddings, Query, RetrievalStore, Search
from backstay.retrieval.comparing import Asked as AskedQuery
from backstay.retrieval.comparing import Comparing, Comparison
from backstay.retrieval.generation_store import GenerationStore
from backstay.retrieval.migrating import Migration, Migrations
from backstay.retrieval.types import Chunking, ExternalId, Mode, ModelName
from backstay.store import Database


class MigrationDeps:
    """What these endpoints use."""

    def __init__(
        self,
        database: Database,
        store: RetrievalStore,
        generations: GenerationStore,
        embeddings: Embeddings,
        search: Search,
    ):
        self.migrations = Migrations(generations, store, embeddings)
        self.comparing = Comparing(generations, store, search)
        self.database = database
        self.audit = AuditLog(database)


class NewMigration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is."""

    embedding_model: ModelName | None = None
    chunking: Chunking | None = None


class Labelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query, and how relevant documents are to it, if that is known."""

    query: Annotated[str, Meta(min_length=1, max_length=20_000)]
    mode: Mode = "hybrid"
    relevant: Annotated[dict[ExternalId, Annotated[float, Meta(ge=0)]], Meta(max_length=1000)] = {}


class CompareBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Queries to compare two generations by; none: those that were asked last."""

    queries: Annotated[list[Labelled], Meta(max_length=500)] = []
    recent: Annotated[int, Meta(ge=1, le=200)] = 50
    """So many of those that were asked last."""


class SwitchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which generation is to be searched."""

    back: bool = False
    """The one that was live before, not the new one."""


async def start_migration(deps: MigrationDeps, asked: Asked[Nothing, NewMigration]) -> Migration:
    name, told = asked.path("collection"), asked.body
    made = await deps.migrations.start(
        asked.caller, name, chunking=told.chunking, embedding_model=told.embedding_model
    )  # fmt: skip
    await _note(deps, asked, "collection.migrate", name)
    return made


async def show_migration(deps: MigrationDeps, asked: Asked[Nothing, Nothing]) -> Migration:
    return await deps.migrations.show(asked.caller.tenant_id, asked.path("collection"))


async def compare_generations(deps: MigrationDeps, asked: Asked[Nothing, CompareBody]) -> Comparison:
    told = [
        AskedQuery(query=Query(text=each.query, mode=each.mode), relevant=each.relevant) for each in asked.body.queries
    ]
    return await deps.comparing.compare(asked.caller, asked.path("collection"), told, recent=asked.body.recent)


async def switch_generation(deps: MigrationDeps, asked: Asked[Nothing, SwitchBody]) -> Migration:
    name = asked.path("collection")
    switched = await deps.migrations.switch(asked.caller.tenant_id, name, back=asked.body.back)
    await _note(deps, asked, "collection.switch", name, generation=switched.live.generation)
    return switched


async def drop_generation(deps: MigrationDeps, asked: Asked[Nothing, Nothing]) -> Migration:
    name = asked.path("collection")
    left = await deps.migrations.drop(asked.caller.tenant_id, name)
    await _note(deps, asked, "collection.drop_generation", name)
    return left


async def _note(deps: MigrationDeps, asked: Asked[Any, Any], action: str, subject: str, **detail: Any) -> None:
    async with deps.database.system() as connection:
        await deps.audit.note_own(connection, asked.caller, action, subject, **detail)


_PLACE = "/v1/collections/{collection}/migration"
_MODEL = (NotFound, Conflict, UnknownModel, ProviderError)

MIGRATION_ENDPOINTS: tuple[Endpoint[MigrationDeps, Any, Any], ...] = (
    get(_PLACE, "Show the generations of a collection", show_migration,
        answer=Migration, query=Nothing, right="read", errors=(NotFound,)),
    post(
        _PLACE, "Begin a generation beside the live one, with another model or chunking", start_migration,
        answer=Migration, body=NewMigration, right="admin", status=201, errors=_MODEL,
    ),
    post(
        f"{_PLACE}/compare", "Compare what both generations find", compare_generations,
        answer=Comparison, body=CompareBody, right="admin", errors=_MODEL, most_bytes=32 * 1024 * 1024,
    ),
    post(
        f"{_PLACE}/switch", "Search the new generation from now on, or the one before it again", switch_generation,
        answer=Migration, body=SwitchBody, right="admin", errors=(NotFound, Conflict),
    ),
    post(
        f"{_PLACE}/drop", "Drop the generation that is not searched", drop_generation,
        answer=Migration, body=Nothing, right="admin", errors=(NotFound,),
    ),
)  # fmt: skip
