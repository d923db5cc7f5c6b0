"""Found passages measured against the places that answer: recall, precision, intersection over union."""

import pytest

from backstay.retrieval.spans import Place, measure


def place(start: int, end: int, document: str = "a") -> Place:
    return Place(document=document, start=start, end=end)


def test_measures_are_those_computed_by_hand() -> None:
    """100 wanted characters, 60 of them within 200 that were read."""
    found = [place(0, 100), place(300, 400)]
    assert measure(found, [place(60, 120), place(380, 420)]) == {
        "recall": 60 / 100,
        "precision": 60 / 200,
        "iou": 60 / (200 + 100 - 60),
    }


def test_what_is_read_twice_is_met_once() -> None:
    told = measure([place(0, 100), place(50, 150)], [place(50, 100)])
    assert told == {"recall": 1.0, "precision": 50 / 200, "iou": 50 / 200}


def test_wanted_places_that_overlap_count_once() -> None:
    assert measure([place(0, 100)], [place(0, 60), place(40, 100)])["recall"] == 1.0


def test_another_document_answers_nothing() -> None:
    assert measure([place(0, 100, "b")], [place(0, 100)]) == {"recall": 0.0, "precision": 0.0, "iou": 0.0}


def test_nothing_found_is_no_precision() -> None:
    assert measure([], [place(0, 100)]) == {"recall": 0.0, "precision": 0.0, "iou": 0.0}


def test_a_question_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a place"):
        measure([place(0, 100)], [])
