"""An answer while it is written: however it is cut, it is told as the answer that it becomes."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.caller import Caller
from backstay.core.ports import ModelAnswer
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.answering import ABSTENTION, NOTHING, Draft
from backstay.retrieval.conversation import earlier_questions
from backstay.retrieval.streaming import Event, Piece, Writing
from backstay.retrieval.support import Verifier
from backstay.retrieval.types import Answer, Found, Sentence, Turn

PASSAGE = Found(
    external_id="office.txt",
    chunk_id="1",
    text="The office in Berlin opens at 9:30 and closes at 18:00. Pets are welcome on Fridays.",
    score=5.0,
    relevance=0.9,
    start=0,
    end=84,
)
CALLER = Caller(tenant_id="acme", kind="key", id="key_1", name="app", rights=frozenset({"call"}))
DRAFT = Draft(payer=CALLER, request={}, verifier=Verifier(Analyzer("en"), [PASSAGE]))

_PARTS = st.sampled_from(
    [
        "The office in Berlin opens at 9:30",
        " [1]",
        "[2, 3]",
        " [",
        "[1",
        "]",
        ". ",
        "! ",
        "\n\n",
        "  ",
        "Pets are welcome on Fridays.",
        "It rains",
        "see [note] and a[0]",
        "NOT",
        "not in the pass",
        "…",
    ]
)
_CUTS = st.lists(st.integers(0, 200), max_size=12)


def told(text: str, cuts: Sequence[int]) -> tuple[list[Event], Answer]:
    """Write an answer in pieces, and return what was told and what the answer became."""
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    writing, events = Writing(DRAFT), list[Event]()
    for start, end in pairwise(places):
        events += writing.add(text[start:end])
    body = msgspec.json.encode({"choices": [{"message": {"content": text}}]})
    answer = DRAFT.read(ModelAnswer(body=body, trace_id="t", cost_usd=None))
    return [*events, *writing.end(answer)], answer


@given(parts=st.lists(_PARTS, max_size=12), cuts=_CUTS)
def test_pieces_and_sentences_are_those_of_the_answer(parts: list[str], cuts: list[int]) -> None:
    """Unless it says nothing: then no more was told than what stood before."""
    events, answer = told("".join(parts), cuts)
    text = "".join(event.text for event in events if isinstance(event, Piece))
    sentences = [event for event in events if isinstance(event, Sentence)]
    assert sentences == answer.sentences
    if not answer.abstained:
        assert text == answer.answer


@given(before=st.sampled_from(["", " ", "\n"]), more=st.sampled_from(["", ".", " at all."]), cuts=_CUTS)
def test_an_abstention_is_never_told_as_text(before: str, more: str, cuts: list[int]) -> None:
    """In any case of its letters."""
    for words in (NOTHING, NOTHING.lower(), NOTHING.title()):
        events, answer = told(before + words + more, cuts)
        assert (events, answer.answer) == ([], ABSTENTION)


def test_a_sentence_is_checked_as_soon_as_it_has_ended() -> None:
    """The next one's first words bring it out."""
    writing = Writing(DRAFT)
    assert writing.add("The office in Berlin opens at 9:30. ") == [Piece(text="The office in Berlin opens at 9:30.")]
    piece, sentence = writing.add("And")
    assert piece == Piece(text=" And")
    assert isinstance(sentence, Sentence) and sentence.supported


def test_what_was_asked_last_weighs_most() -> None:
    """Answers weigh nothing, nor do questions long ago."""
    said = [("user", "one"), ("assistant", "1"), ("user", " "), *(("user", word) for word in ("two", "three", "four"))]
    turns = [Turn(role="user" if role == "user" else "assistant", content=content) for role, content in said]
    found = earlier_questions(turns)
    assert [text for text, _ in found] == ["four", "three", "two"]
    assert [round(weight, 4) for _, weight in found] == [0.3, 0.09, 0.027]
