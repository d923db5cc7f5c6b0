"""Owns the labelled sets that searches are tried on: judged documents, or places in documents that answer questions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from backstay.cli.http import Client
from backstay.cli.labelled import read_lines, read_qrels
from backstay.core.errors import InvalidRequest

if TYPE_CHECKING:
    from backstay.retrieval.spans import Place

MODES = ("hybrid", "lexical", "dense")
_BATCH = 64
_LONGEST_S = 600.0
_DEPTH = 100

Results = Sequence[Mapping[str, Any]]


class Trial(Protocol):
    """A labelled set."""

    documents: Sequence[Mapping[str, Any]]
    """As the API takes them."""
    asked: Sequence[str]
    first: str
    """The measure by which ways are ordered."""

    def body(self, number: int, mode: str) -> dict[str, Any]:
        """Return the search of a query."""
        ...

    def measure(self, number: int, results: Results) -> Mapping[str, float]:
        """Return what its results come to."""
        ...


def read_trial(corpus: Path, queries: Path, qrels: Path | None, limit: int) -> Trial:
    """Read a set, of places where there are no judgements. Raises ``InvalidRequest`` with what is wrong where."""
    documents = _folder(corpus) if corpus.is_dir() else [as_document(line) for line in read_lines(corpus)]
    return Judged(documents, queries, qrels) if qrels is not None else Places(documents, queries, limit)


def fill(client: Client, name: str, documents: Sequence[Mapping[str, Any]]) -> None:
    """Put documents into a collection."""
    for start in range(0, len(documents), _BATCH):
        body = {"documents": documents[start : start + _BATCH]}
        with client.open("POST", f"/v1/collections/{name}/documents", body=body, timeout_s=_LONGEST_S) as response:
            response.read()


class Judged:
    """Queries with the documents that are relevant to them."""

    first = "ndcg@10"
    _measures = ("ndcg@10", "recall@10", "mrr@10")

    def __init__(self, documents: Sequence[Mapping[str, Any]], queries: Path, qrels: Path):
        judged = read_qrels(qrels)
        texts = {str(line["_id"]): str(line["text"]) for line in read_lines(queries)}
        kept = [query for query in judged if query in texts and any(grade > 0 for grade in judged[query].values())]
        if not kept:
            raise InvalidRequest(f"{qrels} judges no query of {queries}.", param="--qrels")
        self.documents = documents
        self.asked: Sequence[str] = [texts[query] for query in kept]
        self._judged = [judged[query] for query in kept]

    def body(self, number: int, mode: str) -> dict[str, Any]:
        return {"query": self.asked[number], "mode": mode, "limit": _DEPTH, "group_by": "document"}

    def measure(self, number: int, results: Results) -> Mapping[str, float]:
        from backstay.retrieval.evaluation import evaluate

        ranking = [each["external_id"] for each in results]
        told = evaluate({"q": ranking}, {"q": self._judged[number]})
        return {name: told[name] for name in self._measures}


class Places:
    """Questions with the places that answer them."""

    first = "recall"

    def __init__(self, documents: Sequence[Mapping[str, Any]], questions: Path, limit: int):
        names = {document["external_id"] for document in documents}
        read = [
            _question(f"{questions}, line {number}", line, names)
            for number, line in enumerate(questions.read_text(encoding="utf-8").splitlines(), 1)
            if line.strip()
        ]
        if not read:
            raise InvalidRequest(f"{questions} has no questions.", param="--queries")
        self.documents = documents
        self.asked: Sequence[str] = [question for question, _ in read]
        self._wanted = [places for _, places in read]
        self._limit = limit

    def body(self, number: int, mode: str) -> dict[str, Any]:
        return {"query": self.asked[number], "mode": mode, "limit": self._limit}

    def measure(self, number: int, results: Results) -> Mapping[str, float]:
        from backstay.retrieval.spans import Place, measure

        # Where there are parents, these are read, each once.
        read = {(each["external_id"], *_read_of(each)): None for each in results}
        found = [Place(document=document, start=start, end=end) for document, start, end in read]
        return measure(found, self._wanted[number])


def _read_of(result: Mapping[str, Any]) -> tuple[int, int]:
    part = result.get("parent") or result
    return part["start"], part["end"]


def _question(where: str, line: str, documents: set[str]) -> tuple[str, "list[Place]"]:
    from backstay.retrieval.spans import Place

    try:
        told = json.loads(line)
        question, document = str(told["question"]), str(told["document"])
        places = [Place(document=document, start=int(at["start"]), end=int(at["end"])) for at in told["references"]]
    except (ValueError, KeyError, TypeError):
        raise InvalidRequest(
            f"{where}: without --qrels, a line needs `question`, `document`, and `references` with `start` and `end`."
        ) from None
    if document not in documents:
        raise InvalidRequest(f"{where}: there is no document {document!r} in the corpus.")
    if not places or any(not 0 <= place.start < place.end for place in places):
        raise InvalidRequest(f"{where}: each of `references` needs a `start` below its `end`, and there must be one.")
    return question, places


def as_document(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of a corpus as the API takes it."""
    return {"external_id": str(line["_id"]), "title": str(line.get("title") or ""), "text": str(line["text"])}


def _folder(folder: Path) -> list[dict[str, Any]]:
    """Read the text files of a folder, by their paths in it, hidden ones left out."""
    from backstay.retrieval.media_types import media_type_of

    documents: list[dict[str, Any]] = []
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder)
        if not file.is_file() or any(part.startswith(".") for part in inner.parts):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InvalidRequest(f"{file} is no text in UTF-8, of which characters could be counted.") from None
        documents.append({"external_id": inner.as_posix(), "text": text, "media_type": media_type_of(file.name)})
    if not documents:
        raise InvalidRequest(f"{folder} has no files.", param="--corpus")
    return documents
