"""Owns the labelled claims that checking answers is learnt from and measured on: of public sets, supported or planted.

What is supported comes from people (the reference answers of ``mtrag``, questions and answers of ``xquad`` put together
to statements) and from the documents themselves (sentences of ``chunking``).
What is not is planted (``bench/planted``).
Every claim belongs to a document or a conversation, and all that share one are in the same part.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from backstay.retrieval.chunking import sentences

Part = Literal["train", "choose", "test"]
"""``choose``: what thresholds are chosen on. ``test``: what is shown, and nothing else."""

_WINDOW = 1000
_EXTRACTS = 120
"""Sentences of each document that are taken as claims."""
_DOCUMENTS: Mapping[str, Part] = {
    "finance.md": "train", "wikitexts.md": "choose", "pubmed.md": "test", "state_of_the_union.md": "test"
}  # fmt: skip
"""Of ``chunking``. Those that are shown are of other kinds than those that are learnt from."""
_AUX = "did|do|does|is|was|are|were|has|have|had|can|could|will|would|may|should"
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), form)
    for pattern, form in [
        (r"^(?:who|what) (is|was|are|were) (?P<rest>.+)\?$", "{answer} {1} {rest}."),
        (rf"^who (?!{_AUX})(?P<rest>.+)\?$", "{answer} {rest}."),
        (r"^(?:when|where) (did|do|does|was|were|is|are) (?P<rest>.+)\?$", "{rest} {1} in {answer}."),
        (rf"^how (?:many|much) (?P<what>[\w ]+?) ({_AUX}) (?P<rest>.+)\?$", "{rest} {2} {answer} {what}."),
        (rf"^(in|on|at|during|from|to|by) (?:what|which) [\w ]+? ({_AUX}) (?P<rest>.+)\?$", "{rest} {2} {1} {answer}."),
        (rf"^(?:what|which) [a-z]+ (?!{_AUX}|of)(?P<rest>.+)\?$", "{answer} {rest}."),
    ]
)  # fmt: skip
_AT_THE_END = re.compile(
    r"^([^,;:()]{25,}?) ((?:in|on|at|during|since|by|after|before|for|within|under) [^,;:()]{4,60})\.$"
)
_FIRST_OF_TWO = re.compile(r"^([^;:()]{40,}?)(?:, (?:and|but|while|whereas|so) |; )[^;]{20,}$")
_CONTRACTED = re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|should|would) not\b")
_SMALL = ("The", "A", "An", "This", "These", "It", "They", "We", "There", "He", "She", "In", "Our", "Its", "Their")
_NO_CLAIM = re.compile(
    r"\b(sorry|apologi[sz]e|I|my|me|you might be|do not have|don't have|let me know|please)\b|\?|https?://"
)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence, the passages that it is held against, and whether they support it."""

    text: str
    passages: tuple[str, ...]
    supported: bool
    kind: str
    """Where it comes from, or what was planted."""
    group: str
    """The document or conversation."""
    part: Part
    origin: str = ""
    """Of a planted claim: the supported one that it was made of."""
    other_answers: tuple[str, ...] = ()
    """Of ``xquad``: the same statement with what answers another question on the passage."""


def part_of(group: str) -> Part:
    """Choose by the name: 55 % are learnt from, 15 % chosen on, 30 % shown."""
    place = hashlib.sha256(group.encode()).digest()[0] / 256
    return "train" if place < 0.55 else "choose" if place < 0.7 else "test"


def read_supported(data: Path) -> list[Claim]:
    """Read all claims that are supported."""
    return [*_references(data / "mtrag"), *_statements(data / "xquad" / "en"), *_extracts(data / "chunking")]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def conversations(tasks: Sequence[dict[str, Any]]) -> list[str]:
    """Name the group of each task: tasks of one conversation, or with a passage in common, are in one."""
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for task in tasks:
        first = root("conversation " + task["id"].partition("<")[0])
        for passage in task["passages"]:
            above[root("passage " + passage["id"].split("-")[0])] = first
    return [root("conversation " + task["id"].partition("<")[0]) for task in tasks]


def _references(folder: Path) -> Iterator[Claim]:
    """Take the sentences of people's answers that the passages are said to hold."""
    tasks = read_lines(folder / "tasks.jsonl")
    for task, group in zip(tasks, conversations(tasks), strict=True):
        if task["answerability"] != ["ANSWERABLE"]:
            continue
        passages = tuple(passage["text"] for passage in task["passages"])
        for start, end in sentences(task["reference"]):
            text = re.sub(r"^(?:\d{1,2}[.)]|[*•-])\s+", "", task["reference"][start:end])
            if _NO_CLAIM.search(text) is None and len(text.split()) >= 5 and text[-1:] in ".!":
                yield Claim(text=text, passages=passages, supported=True, kind="reference", group=group,
                            part=part_of(group))  # fmt: skip


def _statements(folder: Path) -> Iterator[Claim]:
    corpus = {each["_id"]: each for each in read_lines(folder / "corpus.jsonl")}
    place = dict(line.split("\t")[:2] for line in (folder / "qrels.tsv").read_text().splitlines()[1:])
    asked = read_lines(folder / "queries.jsonl")
    answers: dict[str, list[str]] = defaultdict(list)
    for each in asked:
        answers[place[each["_id"]]].append(each["answer"])
    for passage in corpus.values():
        group = f"xquad {passage['title']}"
        yield from _from_passage(passage["text"], sentences(passage["text"])[1:2], group, part_of(group))
    for each in asked:
        passage = corpus[place[each["_id"]]]
        if (text := statement(each["text"], each["answer"])) is None:
            continue
        others = [answer for answer in answers[passage["_id"]] if _is_alike(answer, each["answer"])]
        group = f"xquad {passage['title']}"
        yield Claim(
            text=text,
            passages=(passage["text"],),
            supported=True,
            kind="statement",
            group=group,
            part=part_of(group),
            other_answers=tuple(filter(None, (statement(each["text"], other) for other in others))),
        )


def statement(question: str, answer: str) -> str | None:
    """Put a question and its answer together to a statement, its grammar often broken; ``None``: no rule fits."""
    question = question.strip()
    if len(answer.split()) > 8:
        return None
    for pattern, form in _FORMS:
        if (found := pattern.match(question)) is not None:
            told = form.format("", *found.groups(), answer=answer, **found.groupdict())
            return told[:1].upper() + told[1:]
    return None


def _is_alike(one: str, other: str) -> bool:
    """Tell whether an answer could be taken for another: of the same kind, and neither within the other."""
    low, lower = one.casefold(), other.casefold()
    kinds = [(any(c.isdigit() for c in text), text[:1].isupper()) for text in (one, other)]
    return kinds[0] == kinds[1] and low not in lower and lower not in low


def _extracts(folder: Path) -> Iterator[Claim]:
    """Take sentences as they stand, and without what stands between commas or brackets."""
    for name, part in _DOCUMENTS.items():
        text = re.sub(r"\s*\n\s*", " ", (folder / "documents" / name).read_text(encoding="utf-8"))
        text = re.sub(r" @(.)@ ", r"\1", text)
        spans = [span for span in sentences(text) if 60 <= span[1] - span[0] <= 350]
        for span in spans[:: max(1, len(spans) // _EXTRACTS)]:
            begin = max(0, span[0] - _WINDOW // 2)
            passage = text[begin : span[0] + _WINDOW]
            yield from _from_passage(passage, [(span[0] - begin, span[1] - begin)], f"chunking {name}", part)


def _from_passage(passage: str, spans: Sequence[tuple[int, int]], group: str, part: Part) -> Iterator[Claim]:
    for start, end in spans:
        told = passage[start:end]
        for kind, text in {"verbatim": told, **reworded(told)}.items():
            if len(text.split()) >= 5 and (kind == "verbatim" or text != told):
                yield Claim(text=text, passages=(passage,), supported=True, kind=kind, group=group, part=part)


def reworded(sentence: str) -> dict[str, str]:
    """Say the same in another order, or a part of it, by rules that leave it true."""
    found = {"shortened": re.sub(r"\s*(\([^()]*\)|, (?:which|who|where|including|such)[^,.;]*,?)", "", sentence)}
    if (tail := _AT_THE_END.match(sentence)) is not None:
        head = tail[1][0].lower() + tail[1][1:] if tail[1].split()[0] in _SMALL else tail[1]
        found["fronted"] = f"{tail[2][0].upper()}{tail[2][1:]}, {head}."
    if (first := _FIRST_OF_TWO.match(sentence)) is not None:
        found["first half"] = f"{first[1]}."
    words = _CONTRACTED.sub(lambda match: match[1] + "n't", sentence)
    if words != sentence:
        found["contracted"] = words
    return found
