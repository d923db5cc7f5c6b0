"""Collections of documents, searched by words and by meaning: what somebody may not read is as if it were not there."""

from backstay.retrieval.collections import Collections
from backstay.retrieval.embeddings import Embeddings
from backstay.retrieval.ingesting import Ingest
from backstay.retrieval.search import Search
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import NewDocument, Query, Settings

__all__ = ["Collections", "Embeddings", "Ingest", "NewDocument", "Query", "RetrievalStore", "Search", "Settings"]
