"""Tests of which sentences passages support: a planted change of a number, name or denial is never supported."""

import re

import msgspec
import pytest

from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.facts import read_facts
from backstay.retrieval.support import Verifier
from backstay.retrieval.types import Found

PASSAGE = Found(
    external_id="report.pdf",
    chunk_id="1",
    title="Acme, annual report",
    text="Net sales rose to $1,234.5 million in 2022. The office in Berlin, led by Ada Moreau, did not grow. "
    "It has 40 people, and Oslo 12.",
    score=1.0,
    relevance=0.9,
    start=100,
    end=260,
    page=7,
)


@pytest.mark.parametrize(
    ("sentence", "quote"),
    [
        ("Net sales rose to $1.2345 billion in 2022.", "Net sales rose to $1,234.5 million in 2022."),
        ("In 2022, net sales rose to 1,234.5 million dollars.", "Net sales rose to $1,234.5 million in 2022."),
        ("Ada Moreau's office in Berlin didn't grow.", "The office in Berlin, led by Ada Moreau, did not grow."),
        ("It has 40 people.", "It has 40 people, and Oslo 12."),
    ],
)
def test_a_supported_sentence_is_cited_with_its_place(sentence: str, quote: str) -> None:
    """The place is in characters of the document, and its quote is what stands there."""
    (first, *_) = Verifier(Analyzer("en"), [PASSAGE]).citations(sentence)
    assert (first.external_id, first.page, first.quote) == ("report.pdf", 7, quote)
    assert PASSAGE.text[first.start - PASSAGE.start : first.end - PASSAGE.start] == quote


@pytest.mark.parametrize(
    "sentence",
    [
        "Net sales rose to $1,234.5 billion in 2022.",
        "Net sales rose to $1,235.5 million in 2022.",
        "Net sales rose to $1,234.5 million in 2021.",
        "Net sales did not rise to $1,234.5 million in 2022.",
        "The office in Berlin, led by Ada Moreau, did grow.",
        "The office in Oslo, led by Ada Moreau, did not grow.",
        "The office in Berlin, led by Ada Lund, did not grow.",
        "Net sales fell to $1,234.5 million in 2022.",
        "Net sales rose to €1,234.5 million in 2022.",
        "Net sales rose to $1,234.5 million in 2022 of the date of the order.",
        "It has 40 dollars, and Oslo 12.",
        "Oslo has 40 people, and Berlin 12.",
        "Profits fell because of taxes abroad.",
        "...",
    ],
)
def test_what_the_passage_does_not_say_is_not_supported(sentence: str) -> None:
    """One fact that differs is enough."""
    assert Verifier(Analyzer("en"), [PASSAGE]).citations(sentence) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234,567 and 1.234.567 and 1 234 567", {"1234567"}),
        ("3.50 and 3,5", {"3.5"}),
        ("2 million, 2mn and 2,000,000", {"2000000"}),
        ("the 3rd of three", {"3"}),
        ("0.125 or 007", {"0.125", "7"}),
    ],
)
def test_numbers_have_one_notation(text: str, numbers: set[str]) -> None:
    """Whatever separates thousands and decimals, and however large numbers are written."""
    assert set(read_facts(text).numbers) == numbers


@pytest.mark.parametrize(
    ("language", "text", "changed"),
    [
        ("de", "Rückgaben werden innerhalb von 14 Tagen bezahlt.", "Rückgaben werden innerhalb von 14 Wochen bezahlt."),
        ("de", "Das Büro in Berlin ist sonntags geöffnet.", "Das Büro in Berlin ist sonntags nicht geöffnet."),
        ("zh", "办公室早上九点开门，晚上六点关门。", "办公室早上不开门，晚上六点关门。"),
        ("ar", "يفتح المكتب الساعة 9 صباحا كل يوم.", "يفتح المكتب الساعة 8 صباحا كل يوم."),
    ],
)
def test_facts_are_compared_in_other_languages(language: str, text: str, changed: str) -> None:
    """A sentence is supported by itself, and a changed one is not."""
    verifier = Verifier(Analyzer(language), [msgspec.structs.replace(PASSAGE, text=text, title="")])
    assert [each.quote for each in verifier.citations(text)] == [text]
    assert verifier.citations(changed) == []


def test_an_added_condition_is_not_supported() -> None:
    """Most words are there, and the rest changes what is promised."""
    passage = msgspec.structs.replace(PASSAGE, text="Refunds are paid within 14 days.", title="Refunds")
    verifier = Verifier(Analyzer("en"), [passage])
    assert verifier.citations("Refunds are paid within 14 days.")
    assert verifier.citations("Refunds are paid within 14 days of the date of the order.") == []


def test_every_sentence_supports_itself() -> None:
    """Also with its facts; each of a passage's own sentences is its own citation."""
    for sentence in re.split(r"(?<=\.)\s", PASSAGE.text):
        assert Verifier(Analyzer("en"), [PASSAGE]).citations(sentence)[0].quote == sentence
