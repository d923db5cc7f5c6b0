"""Owns the nouns of retrieval: collections and their settings, documents, chunks, and what a search finds."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from backstay.core.caller import Caller
from backstay.retrieval.filters import Filter
from backstay.retrieval.ranking_types import ModelName, Placed, Ranking, Stage
from backstay.statistics.logistic import Curve

Mode = Literal["hybrid", "dense", "lexical"]
"""``dense``: by meaning. ``lexical``: by words. ``hybrid``: by both."""

Strategy = Literal["recursive", "sentence", "fixed", "tokens", "semantic", "code"]
"""``recursive``: at headings, then paragraphs, lines and sentences; rows of a table keep its head. ``sentence``: at
sentences. ``fixed``: after so many characters, at a blank. ``tokens``: after so many tokens. ``semantic``: within each
heading's text where its neighbouring sentences are least alike. ``code``: source code at its definitions, all else as
``recursive``."""

Unsupported = Literal["mark", "cut", "ask_again"]
"""What becomes of sentences that no passage supports. ``mark``: the answer keeps them, and they are marked. ``cut``:
the answer is without them. ``ask_again``: the model is asked once more, told which they are; the rest is marked."""

_LINE = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$"

CollectionName = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,62}$")]
ExternalId = Annotated[str, Meta(min_length=1, max_length=1000, pattern=_LINE)]
Principal = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]
Principals = Annotated[tuple[Principal, ...], Meta(max_length=1000)]


WrongAnswers = Annotated[float, Meta(gt=0, le=1)]

Span = tuple[int, int]
"""From a character of a text to before another."""


class Chunking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How documents are cut."""

    strategy: Strategy = "recursive"
    max_chars: Annotated[int, Meta(ge=100, le=20_000)] = 800
    """Of one chunk; with ``tokens``, that is ``max_tokens``."""
    overlap_chars: Annotated[int, Meta(ge=0, le=2000)] = 0
    max_tokens: Annotated[int, Meta(ge=16, le=4096)] = 200
    """Of one chunk with ``tokens``, counted as OpenAI's cl100k_base does."""
    parent_chars: Annotated[int, Meta(ge=200, le=40_000)] | None = None
    """Documents are cut into parents of so many characters, and these into the chunks that are searched: an answer is
    written from the parents of what was found. ``None``: from the chunks themselves."""
    context_model: ModelName | None = None
    """The chat model that writes a sentence on where in its document each chunk stands, by which it is found but which
    is never shown; ``None``: none does."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a collection is made with."""

    chunking: Chunking = Chunking()
    embedding_model: ModelName = "embed"
    answer_model: ModelName = "local"
    language: Annotated[str, Meta(min_length=2, max_length=8)] = "auto"
    """An ISO 639-1 code that words are stemmed by; ``auto``: that of the first documents."""
    wrong_answers: WrongAnswers = 0.1
    """Of all questions, the share that may get an answer that the documents do not hold, at the mean."""
    unsupported: Unsupported = "mark"
    ranking: Ranking = Ranking()
    """Of the first hits of searches that do not say otherwise, and of answers."""


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Settings that may be changed at any time; ``None``: as it was."""

    answer_model: ModelName | None = None
    wrong_answers: WrongAnswers | None = None
    unsupported: Unsupported | None = None
    ranking: Ranking | None = None


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """A collection and its live generation."""

    tenant_id: str
    name: str
    settings: Settings
    changes: int
    generation: int
    chunking: Chunking
    embedding_model: str
    language: str
    """``auto`` until the first documents are there."""
    created_at: dt.datetime
    relevance: Curve | None = None
    """How likely results are relevant, by their score; ``None``: the collection is not calibrated."""

    def payer(self, caller: Caller) -> Caller:
        """Return the caller with this collection among the tags of its calls, so that costs are known by collection."""
        return msgspec.structs.replace(caller, tags=(*caller.tags, f"collection:{self.name}"))


class CollectionView(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as it is shown."""

    name: str
    documents: int
    chunks: int
    size_bytes: int
    """Of the documents' texts, in UTF-8."""
    embedding_model: str
    answer_model: str
    language: str
    chunking: Chunking
    wrong_answers: float
    unsupported: Unsupported
    ranking: Ranking
    calibrated_at: dt.datetime | None
    """``None``: no labels of its own; relevance and abstention go by what holds elsewhere."""
    generation: int
    created_at: dt.datetime

    @property
    def models(self) -> frozenset[str]:
        """Those that a search of it calls."""
        others = [each.model for each in (self.ranking.expand, self.ranking.rerank) if each is not None]
        return frozenset([self.embedding_model, *others])


class NewDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document to be kept, its text already read."""

    external_id: ExternalId
    text: Annotated[str, Meta(max_length=20_000_000)]
    title: Annotated[str, Meta(max_length=2000)] = ""
    media_type: Annotated[str, Meta(max_length=200)] = "text/plain"
    metadata: dict[str, Any] = {}
    principals: Principals | None = None
    """Who may read it; ``None``: everybody."""
    page_starts: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(max_length=100_000)] = ()
    """Where in the text each page begins, in characters."""
    content_hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The sender's own hash of what the document was made of, by which it knows it again; ``None``: it is made here."""


class KeptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A kept document, without its text."""

    external_id: str
    title: str
    media_type: str
    metadata: dict[str, Any]
    principals: tuple[str, ...] | None
    characters: int
    pages: int
    chunks: int
    content_hash: str
    updated_at: dt.datetime


class DocumentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a kept document's text."""

    external_id: str
    title: str
    media_type: str
    metadata: dict[str, Any]
    principals: list[str] | None
    page_starts: list[int]
    characters: int
    """Of the whole."""
    text: str
    chunks: list[tuple[int, int]]
    """Where those are that reach into the part, in characters of the document."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as it was cut: where it is in the document's text, in characters."""

    start: int
    end: int
    heading: str = ""
    """The headings that it stands under, the outermost first, with `` > `` between them."""
    page: int | None = None
    parent: Span | None = None
    """What an answer reads in its place; ``None``: itself."""
    head: Span | None = None
    """The head of the table that it begins within."""


class LabelledQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query by which a collection is calibrated."""

    query: Annotated[str, Meta(min_length=1, max_length=20_000)]
    relevant: Annotated[tuple[ExternalId, ...], Meta(max_length=200)] | None = None
    """External ids of all documents that are relevant to it; ``None``: this is not said."""
    answerable: bool | None = None
    """Whether the documents hold an answer; ``None``: this is not said."""
    principals: Principals = ()


class RelevanceCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """What labels showed of the relevance that is told."""

    results: int
    """Judged ones: the first ten of each query that names its relevant documents."""
    relevant: int
    error_before: float
    """The mean error of the probabilities without calibration."""
    error_after: float
    """With it: each of five parts told by the curve of the other four."""


class AnswerCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """From where on answers are given, as labels showed."""

    questions: int
    unanswerable: int
    """Those an answer to which would be wrong, as the documents, or what was found of them, do not hold it."""
    wrong_answers: float
    """The share of all questions that may get a wrong answer."""
    enough: bool
    """Whether they are enough to show anything for such a share; otherwise the package's own threshold holds on."""
    threshold: float | None
    """Of the evidence; ``None``: wrong answers cannot be told from right ones, and none is given."""
    answered: int
    """Of these questions, those that are."""
    wrong: int
    """Of the answered ones."""


class CalibrationView(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection's labels showed."""

    collection: str
    generation: int
    relevance: RelevanceCalibration | None
    """``None``: no query names its relevant documents, or none of the documents found is one, or all are."""
    answers: AnswerCalibration | None
    """``None``: no query says whether it has an answer."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that may be an answer."""

    chunk_id: int
    document_id: int
    cosine: float
    score: float = 0.0


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a document that a chunk was cut from."""

    text: str
    start: int
    end: int


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One result of a search."""

    external_id: str
    chunk_id: str
    text: str
    score: float
    relevance: float | None
    """How likely it is to be relevant, from 0 to 1; ``None``: not calibrated."""
    start: int
    end: int
    page: int | None = None
    title: str = ""
    heading: str = ""
    table_head: str = ""
    """The head of the table that the text begins within: it stands further up in the document."""
    parent: Parent | None = None
    """Where the collection has parents: what an answer is written from."""
    page_starts: tuple[int, ...] = ()
    """Where further pages begin within the parent, or the text where there is none."""
    stages: Mapping[Stage, Placed] = {}
    """Its place at each stage of the ranking, where that was asked for."""


class Citation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place that supports a sentence, in characters of its document."""

    external_id: str
    start: int
    end: int
    quote: str
    page: int | None = None


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of an answer, and what supports it."""

    text: str
    supported: bool
    citations: list[Citation]


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer from documents."""

    answer: str
    abstained: bool
    """Whether the documents do not hold the answer, as far as is seen."""
    sentences: list[Sentence]
    """Those that the model wrote, the unsupported ones marked."""
    trace_id: str | None
    """Of the call of the answer model; ``None``: it was not asked."""
    cost_usd: str | None
    """Of that call; ``None``: not known."""
    notes: list[str] = []
    """What was left out of the search, and why."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said before in a conversation."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(max_length=20_000)]


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How the answer model is to be asked, beside the question."""

    model: str | None = None
    """``None``: the collection's answer model."""
    instructions: str = ""
    """Of who asks, such as a language or a tone. They come after those that bind it to the passages."""
    user: str | None = None
    """The end user that its call is attributed to."""
    max_tokens: int | None = None
    """Of the answer; ``None``, or more than is usual: as is usual."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A search, its parts checked."""

    text: str
    earlier: Sequence[tuple[str, float]] = ()
    """What else is searched for, such as what was asked before in the conversation, each with its weight beside the
    text's own, which is 1."""
    limit: int = 10
    mode: Mode = "hybrid"
    filter: Filter | None = None
    """Of the documents' metadata."""
    principals: Sequence[str] = ()
    by_document: bool = False


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What came of documents that were sent."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    chunks: int = 0
    embedded: int = 0
    """Chunks whose vectors were made anew."""

    def __add__(self, other: "Kept") -> "Kept":
        return Kept(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


Memo = Mapping[str, float | str]
"""What models said when documents were cut, by the hash of what they were asked: how alike two neighbours are, or on
where a chunk stands."""

Hashes = Mapping[str, str]
"""Content hashes by external id."""


class KeptAs(msgspec.Struct, frozen=True, kw_only=True):
    """What a kept document is known by."""

    content_hash: str
    principals: tuple[str, ...] | None
    metadata: dict[str, Any]

    def is_of(self, content_hash: str, told: "SentAs") -> bool:
        """Whether what is sent changes nothing: neither the bytes, nor who may read them, nor what is told of them."""
        readers = None if told.principals is None else set(told.principals)
        own = None if self.principals is None else set(self.principals)
        return (self.content_hash, own, self.metadata) == (content_hash, readers, told.metadata)


class SentAs(Protocol):
    """What is said of a document that is sent."""

    @property
    def principals(self) -> Sequence[str] | None: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...


Known = Mapping[str, KeptAs]
"""Documents that are kept, by external id."""
