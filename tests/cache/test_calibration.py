"""How alike two questions must be."""

from pathlib import Path

import numpy as np
import pytest

from backstay.cache.calibration import (
    Calibration,
    LabelledPair,
    LabelledQuestion,
    Labels,
    calibrate,
    read_labels,
    tighten,
)
from backstay.cache.evaluation import evaluate
from backstay.cache.pairs import say_the_same
from backstay.cache.topics import Vectors
from backstay.core.errors import ConfigError

INTENTS = 20
Questions = tuple[list[LabelledQuestion], Vectors]


def draw(seed: int, size: int, *, noise: float = 0.75) -> Questions:
    """Make questions of 20 intents: vectors around a centre each, overlapping, and texts that no veto keeps apart."""
    centres = np.random.default_rng(0).normal(size=(INTENTS, 32))
    random = np.random.default_rng(seed)
    labels = random.integers(INTENTS, size=size)
    vectors = centres[labels] + noise * random.normal(size=(size, 32)) * np.sqrt(2)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    letters = "abcdefghijklmnop"
    texts = ["".join(letters[int(d, 16)] for d in f"{random.integers(2**40):010x}") for _ in range(size)]
    questions = [LabelledQuestion(text=t, intent=str(n)) for t, n in zip(texts, labels, strict=True)]
    return questions, vectors


def calibrated(seed: int, size: int, bound: float) -> Calibration:
    questions, vectors = draw(seed, size)
    return calibrate(Labels(questions=tuple(questions)), vectors, bound=bound, confidence=0.95)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """What many questions show; a value that no test changes."""
    return calibrated(1, 6000, 0.05)


def test_the_bound_holds_on_questions_that_were_not_used(calibration: Calibration) -> None:
    """What was shown on one draw holds on another, and many questions are answered all the same."""
    assert calibration.certificate is not None and calibration.problem is None
    found = evaluate(calibration, draw(2, 2000), draw(3, 2000), confidence=0.95)
    assert found.false_hit_rate is not None and found.false_hit_rate <= 0.05
    assert found.hit_rate > 0.4 and found.hits >= found.false_hits > 0
    assert found.false_hit_interval is not None
    assert found.false_hit_interval[0] <= found.false_hit_rate <= found.false_hit_interval[1]


def test_the_same_labels_give_the_same_cache() -> None:
    """Learning and splitting depend on nothing but the file."""
    first, second = calibrated(1, 1500, 0.1), calibrated(1, 1500, 0.1)
    assert first.certificate == second.certificate
    assert first.verifier.topics is not None and second.verifier.topics is not None
    assert (first.verifier.topics.weights == second.verifier.topics.weights).all()


def test_too_few_labels_leave_it_off_and_say_so() -> None:
    """Without enough labels nothing is shown, so there is no hit."""
    calibration = calibrated(1, 200, 0.02)
    assert calibration.certificate is None
    assert calibration.problem is not None and "stays off" in calibration.problem
    found = evaluate(calibration, draw(2, 50), None, confidence=0.95)
    assert (found.hits, found.hit_rate, found.false_hit_rate, found.problem) == (0, 0.0, None, calibration.problem)


def test_pairs_calibrate_the_cosine() -> None:
    """Labelled pairs alone are enough where the cosine tells them apart."""
    random = np.random.default_rng(5)
    base = random.normal(size=(1200, 32))
    near = np.arange(1200) % 2 == 0
    other = np.where(near[:, None], base + 0.05 * random.normal(size=base.shape), random.normal(size=base.shape))
    vectors = np.stack([base, other], axis=1).reshape(-1, 32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    pairs = tuple(LabelledPair(a="same words", b="same words", same=bool(same)) for same in near)
    calibration = calibrate(Labels(pairs=pairs), vectors, bound=0.02, confidence=0.95)
    assert calibration.certificate is not None and calibration.certificate.threshold > 0.5
    assert calibration.certificate.errors == 0


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    """A line that is neither question nor pair is refused with its number."""
    file = tmp_path / "labels.jsonl"
    file.write_text('{"text": "a", "intent": "b"}\n\n{"a": "x", "b": "y", "same": true}\n{"text": 1, "intent": "b"}\n')
    with pytest.raises(ConfigError) as raised:
        read_labels(file)
    assert raised.value.line == 4
    file.write_text('{"text": "a", "intent": "b"}\n{"a": "x", "b": "y", "same": true}\n')
    assert read_labels(file).texts == ["a", "x", "y"]


def test_pairs_from_use_make_it_stricter_and_never_looser(calibration: Calibration) -> None:
    """However many hits were right, the threshold does not fall; many wrong ones leave nothing to be shown."""
    base = calibration
    assert base.certificate is not None

    def with_pairs(right: int, wrong: int) -> Calibration:
        first = draw(7, right + wrong, noise=0.2)[1]
        vectors = np.repeat(first, 2, axis=0)
        pairs = [LabelledPair(a="a parcel", b="a parcel", same=number < right) for number in range(right + wrong)]
        return tighten(base, pairs, vectors, bound=0.05, confidence=0.95)

    assert tighten(base, [], np.zeros((0, 32), np.float32), bound=0.05, confidence=0.95) is base
    right = with_pairs(2000, 0)
    assert right.certificate is not None and right.certificate.threshold >= base.certificate.threshold
    bad = with_pairs(0, 1500)
    assert bad.certificate is None and "stays off" in (bad.problem or "")
    assert bad.shown_on == base.shown_on + 1500


def test_answers_are_compared_with_care() -> None:
    """Equal and near answers are the same, far ones different; short ones that a veto parts are different too."""

    assert say_the_same("Yes.", "Yes.", 1.0) is True
    assert say_the_same("Send it to the shop", "Bring the parcel back to our store", 0.85) is True
    assert say_the_same("Send it to the shop", "Bring the parcel back to our store", 0.7) is None
    assert say_the_same("Send it to the shop", "The weather is fine", 0.3) is False
    assert say_the_same("Within 14 days", "Within 30 days", 0.95) is False
    long = "You may send it back to us by post or take it to a shop of ours " * 5
    assert say_the_same(long + "within 14 days", long + "within 30 days", 0.99) is None
