"""Tests of the claims that checking is learnt from and measured on, and of what it does with a part of them."""

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from bench.claims import Claim, conversations, read_supported, reworded, statement
from bench.planted import plant
from bench.scores import best_threshold, judge
from bench.verification import examples_of, false_facts, pair_overlap

from backstay.retrieval.classifier import learnt
from bench import training
from shared_data import shared_data


@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        ("Who led the team in sacks?", "Kawann Short", "Kawann Short led the team in sacks."),
        ("What is the capital of Norway?", "Oslo", "Oslo is the capital of Norway."),
        ("How many points did the defense surrender?", "308", "The defense surrender did 308 points."),
        ("Name a river.", "Rhine", None),
        ("Who led the team?", "one two three four five six seven eight nine", None),
    ],
)
def test_a_question_and_its_answer_become_a_statement(question: str, answer: str, told: str | None) -> None:
    """Where a rule fits, and the answer is short."""
    assert statement(question, answer) == told


def test_rewording_leaves_out_and_moves_but_adds_nothing() -> None:
    """The words are those of the sentence, in another order or fewer."""
    told = reworded("The large office in the old town of Berlin did not open, which was odd, in the summer of 1999.")
    assert set(told) >= {"shortened", "contracted"}
    moved = reworded("The company opened a large office in the old town in 1999.")["fronted"]
    assert moved == "In the old town in 1999, the company opened a large office."


def test_tasks_that_share_a_passage_are_in_one_group() -> None:
    """Or a conversation, or share with one that shares."""
    tasks: list[dict[str, Any]] = [
        {"id": "a<::>1", "passages": [{"id": "x-0-9"}]},
        {"id": "b<::>1", "passages": [{"id": "x-9-20"}, {"id": "y-0-9"}]},
        {"id": "c<::>1", "passages": [{"id": "y-0-9"}]},
        {"id": "d<::>1", "passages": [{"id": "z-0-9"}]},
        {"id": "d<::>2", "passages": []},
    ]
    one, two, three, four, five = conversations(tasks)
    assert one == two == three != four == five


def test_what_is_planted_is_a_change_of_its_claim() -> None:
    """Of the same passages, group and part, never the claim itself; numbers are such as no passage has."""
    base = Claim(
        text="The office in Berlin, led by Ada Moreau, opened on March 5 with 40 people because it was needed in town.",
        passages=("The office in Berlin, led by Ada Moreau, opened on March 5 with 40 people. Oslo is larger.",),
        supported=True, kind="verbatim", group="one", part="test",
    )  # fmt: skip
    other = msgspec.structs.replace(base, text="Sales in Norway rose after the merger with Lund in July.", group="two")
    planted = plant([base, other], seed=random.Random(1).randrange(99))
    assert planted and all(not each.supported and each.text != each.origin for each in planted)
    assert all((each.passages, each.part) == (base.passages, "test") for each in planted)


def test_no_planted_fact_passes_and_more_is_told_apart_than_by_word_pairs() -> None:
    """On claims of Wikipedia's articles that nothing was learnt from or chosen on."""
    data = shared_data("xquad").parent
    supported = [each for each in read_supported(data) if each.part == "test" and each.group.startswith("xquad")]
    claims = [*supported, *plant(supported)]
    examples, classifier = examples_of(claims), learnt()
    told = training.score(classifier, examples)
    labels = np.array([claim.supported for claim in claims])
    pairs = np.array([pair_overlap(claim) for claim in claims])
    ours, theirs = judge(labels, told, classifier.threshold), judge(labels, pairs, best_threshold(labels, pairs))
    print(f"{len(claims)} claims: F1 {ours.f1:.3f}, by word pairs {theirs.f1:.3f}")
    assert false_facts(classifier, claims, examples) == []
    assert ours.f1 > theirs.f1
