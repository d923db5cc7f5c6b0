"""Owns the nouns of ranking: what is done with the first hits of a search before they are shown."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ModelName = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\s]+$")]

Stage = Literal["search", "rerank", "boost", "mmr"]
"""Where a hit gets a rank, in the order in which they come. ``search``: by the mode that was asked for."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a hit stands at a stage."""

    rank: int
    """From 1 on."""
    score: float


Weight = Annotated[float, Meta(gt=0, lt=1)]
FieldName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\u0000-\u001f\u007f]+$")]


class Rerank(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that reads the query beside each of the first hits."""

    model: ModelName
    by: Literal["rerank", "chat"] = "rerank"
    """``rerank``: a model that is made for it, on the wire of ``POST /v1/rerank``. ``chat``: any chat model that can
    answer by a JSON schema, asked to grade all passages at once."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Longest that a search waits for it; then the order is as it was before."""


class Recency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Newer documents count for more: a score is multiplied by (1 - weight) + weight · 2^(-age / half-life)."""

    half_life_days: Annotated[float, Meta(gt=0, le=36_500)]
    field: FieldName | None = None
    """Of the metadata, with a date in ISO 8601; ``None``: when the document was last changed here."""
    weight: Weight = 0.3


class Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents with a larger number count for more: a score is multiplied by (1 - weight) + weight · n / (n + pivot).

    Source: the saturation function of Elasticsearch's ``rank_feature`` query (2026-11).
    """

    field: FieldName
    """Of the metadata, with a number from 0 on."""
    pivot: Annotated[float, Meta(gt=0)]
    """The number that gets half of the weight."""
    weight: Weight = 0.3


class Mmr(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Maximal marginal relevance: no passage that only says again what one before it says."""

    share: Annotated[float, Meta(ge=0, le=1)] = msgspec.field(default=0.7, name="lambda")
    """Of relevance, beside being other than those before; 1: relevance alone."""


Expansion = Literal["rewrite", "multi_query", "hyde"]
"""``rewrite``: the last question of a conversation, so that it says by itself what it is about. ``multi_query``: other
ways to ask it, beside it. ``hyde``: a passage that could answer it, beside it."""


class Expand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chat model that finds other words for what is searched for; it must answer by a JSON schema."""

    by: Expansion
    model: ModelName
    queries: Annotated[int, Meta(ge=1, le=5)] = 3
    """Of ``multi_query``: how many."""
    weight: Annotated[float, Meta(gt=0, le=2)] = 0.5
    """Of all of them together, beside the question's own, which is 1."""
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 10.0
    """Longest that a search waits for it; then the question is searched for as it is."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done for a search and with its first hits, in this order; by itself, nothing."""

    depth: Annotated[int, Meta(ge=1, le=200)] = 30
    """How many of the first hits are looked at. Those after them keep their order, behind."""
    expand: Expand | None = None
    rerank: Rerank | None = None
    recency: Recency | None = None
    authority: Authority | None = None
    mmr: Mmr | None = None

    @property
    def does_nothing(self) -> bool:
        return self == Ranking(depth=self.depth)
