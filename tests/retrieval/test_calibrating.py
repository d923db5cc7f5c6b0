"""Tests of calibration by labels: relevance becomes what they say, and what has no answer is not answered."""

import msgspec
import pytest
from retrieval_house import House

from backstay.core.errors import InvalidRequest, NotFound
from backstay.retrieval import NewDocument, Query
from backstay.retrieval.calibrating import Calibrations, calibrate_relevance, fit
from backstay.retrieval.evidence import control
from backstay.retrieval.fusion import ELSEWHERE
from backstay.retrieval.types import LabelledQuestion, SettingsChange

ANIMALS = (
    "otter",
    "heron",
    "badger",
    "lynx",
    "marten",
    "osprey",
    "beaver",
    "stoat",
    "falcon",
    "newt",
    "adder",
    "curlew",
)


@pytest.fixture
async def animals(house: House) -> House:
    """A collection with a document of each animal."""
    await house.put(
        *(NewDocument(external_id=name, text=f"The {name} lives by the river and eats fish.") for name in ANIMALS)
    )
    return house


async def test_relevance_becomes_what_labels_say_until_they_are_forgotten(animals: House) -> None:
    """Told to be 1 where the score is as that of relevant results, and near 0 where it is not."""
    calibrations = Calibrations(animals.store, animals.search)
    before = await animals.search.find(animals.caller, "docs", Query(text="Where does the otter live?"))
    labelled = [LabelledQuestion(query=f"Where does the {name} live?", relevant=(name,)) for name in ANIMALS]
    made = await calibrations.make(animals.caller, "docs", labelled)
    assert made.relevance is not None and made.answers is None
    assert (made.relevance.results, made.relevance.relevant) == (120, 12)
    assert made.relevance.error_after < made.relevance.error_before
    first, *others = await animals.search.find(animals.caller, "docs", Query(text="Where does the otter live?"))
    assert first.external_id == "otter" and (first.relevance or 0) > 0.8
    assert max(each.relevance or 0 for each in others) < 0.2
    (shown,) = await animals.collections.all(animals.caller.tenant_id)
    assert shown.calibrated_at is not None
    await calibrations.forget(animals.caller, "docs")
    assert await animals.search.find(animals.caller, "docs", Query(text="Where does the otter live?")) == before


async def test_questions_without_an_answer_choose_the_threshold(animals: House) -> None:
    """What is kept of them is what the store gives to who answers; too few change nothing."""
    calibrations = Calibrations(animals.store, animals.search)
    labelled = [
        *(LabelledQuestion(query=f"Where does the {name} live?", answerable=True) for name in ANIMALS),
        *(LabelledQuestion(query=f"Who painted {name}?", answerable=False) for name in ("Guernica", "Ophelia", "Nana")),
        LabelledQuestion(query="What does the whale eat?", answerable=True, relevant=("whale",)),
    ]
    made = await calibrations.make(animals.caller, "docs", labelled)
    assert made.answers is not None
    assert (made.answers.questions, made.answers.unanswerable) == (16, 4)
    assert (made.answers.answered, made.answers.wrong, made.answers.threshold is None) in [
        (12, 0, False),
        (13, 0, False),
    ]
    collection = await animals.store.find(animals.caller.tenant_id, "docs")
    examples = await animals.store.evidence(collection)
    assert examples is not None and [wrong for _, wrong in examples] == [False] * 12 + [True] * 4
    few = await calibrations.make(animals.caller, "docs", labelled[:3])
    assert few.answers is not None and not few.answers.enough
    assert few.answers.threshold == round(control(0.1).threshold, 4)
    hopeless = [msgspec.structs.replace(each, answerable=False) for each in labelled]
    none = await calibrations.make(animals.caller, "docs", hopeless)
    assert none.answers is not None and (none.answers.threshold, none.answers.answered) == (None, 0)


async def test_settings_are_changed_and_others_stay(animals: House) -> None:
    """What is named is changed, and nothing else; a collection that is not there is told."""
    tenant = animals.caller.tenant_id
    changed = await animals.collections.change(tenant, "docs", SettingsChange(unsupported="cut", wrong_answers=0.05))
    assert (changed.unsupported, changed.wrong_answers, changed.language) == ("cut", 0.05, "en")
    settings = (await animals.store.find(tenant, "docs")).settings
    assert (settings.unsupported, settings.chunking.max_chars) == ("cut", 100)
    assert await animals.collections.change(tenant, "docs", SettingsChange()) == changed
    with pytest.raises(NotFound):
        await animals.collections.change(tenant, "nowhere", SettingsChange(unsupported="mark"))


async def test_labels_that_show_nothing_are_refused(animals: House) -> None:
    """A query without a label, and a collection that is not there."""
    calibrations = Calibrations(animals.store, animals.search)
    with pytest.raises(InvalidRequest, match="relevant"):
        await calibrations.make(animals.caller, "docs", [LabelledQuestion(query="otter")])
    with pytest.raises(NotFound):
        await calibrations.make(animals.caller, "nowhere", [LabelledQuestion(query="otter", answerable=True)])
    with pytest.raises(NotFound):
        await calibrations.forget(animals.caller, "nowhere")


def test_results_that_are_all_alike_teach_no_relevance() -> None:
    """All relevant, or none: nothing is said of scores."""
    assert calibrate_relevance([[(1.0, True), (2.0, True)]]) == (None, None)
    assert calibrate_relevance([[(1.0, False)], []]) == (None, None)


def test_few_labels_hardly_move_what_holds_elsewhere() -> None:
    """One result moves it by less than a dozen do."""
    score = -ELSEWHERE.start / ELSEWHERE.slope
    moved = [abs(fit([(score, True)] * count).at(score) - ELSEWHERE.at(score)) for count in (1, 12)]
    assert 0 < moved[0] < moved[1]
