"""Owns how alike two questions must be: learned on one part of labelled questions, and shown on the other.

What is promised, and under which condition: of the hits that a semantic cache gives, at most the configured share is
false, with the configured confidence over the draw of the examples, as long as the questions that come and those that
are kept are like the labelled ones (exchangeable with them). A cache that other questions are asked needs other labels.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from backstay.cache.topics import Vectors, learn_topics
from backstay.cache.types import LabelledPair
from backstay.cache.verifier import CANDIDATES, Match, Verifier, choose
from backstay.cache.vetoes import Reading, read
from backstay.core.errors import ConfigError
from backstay.statistics import Certificate, certify

_LEARNED_PERCENT = 70
"""Of labelled questions, those that are learned from; the others show the bound."""


_BLOCK = 256
"""Questions whose cosines are computed at once: one large product is many times faster than many small ones."""


class LabelledQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Two questions of one intent may share an answer; two of different intents may not."""

    text: str
    intent: str


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration file holds."""

    questions: tuple[LabelledQuestion, ...] = ()
    pairs: tuple[LabelledPair, ...] = ()

    @property
    def texts(self) -> list[str]:
        """All texts, in the order in which ``calibrate`` takes their embeddings."""
        return [q.text for q in self.questions] + [text for pair in self.pairs for text in (pair.a, pair.b)]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Without a certificate the semantic cache stays off, and ``problem`` says why."""

    verifier: Verifier
    certificate: Certificate | None
    problem: str | None
    learned_from: int
    shown_on: int
    scores: tuple[float, ...] = ()
    errors: tuple[bool, ...] = ()
    """Of the examples that it was shown on: how alike they are, and whether to share would be wrong."""


def read_labels(path: Path) -> Labels:
    """Read a file of JSON lines: ``{"text", "intent"}`` or ``{"a", "b", "same"}``.

    Raises:
        ConfigError: It cannot be read, or a line is neither.
    """
    questions: list[LabelledQuestion] = []
    pairs: list[LabelledPair] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}.", file=str(path)) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if b'"intent"' in line:
                questions.append(msgspec.json.decode(line, type=LabelledQuestion))
            else:
                pairs.append(msgspec.json.decode(line, type=LabelledPair))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = f'not a line of {{"text", "intent"}} or {{"a", "b", "same"}}: {error}.'
            raise ConfigError(problem, file=str(path), line=number) from None
    return Labels(questions=tuple(questions), pairs=tuple(pairs))


def calibrate(labels: Labels, vectors: Vectors, *, bound: float, confidence: float) -> Calibration:
    """Learn what the questions are about, and find the threshold that keeps false hits under a bound.

    Takes seconds of a core for ten thousand questions: not for an event loop.

    Args:
        labels: Questions are preferred; pairs alone teach nothing, and calibrate the cosine behind the vetoes.
        vectors: The embeddings of ``labels.texts``, one a row, of length 1.
    """
    if labels.questions:
        verifier, learned, scores, errors = _from_questions(labels.questions, vectors[: len(labels.questions)])
    else:
        learned, verifier = 0, Verifier()
        scores, errors = _from_pairs(labels.pairs, vectors, verifier)
    calibration = Calibration(
        verifier=verifier,
        certificate=certify(scores, errors, bound=bound, confidence=confidence),
        problem=None,
        learned_from=learned,
        shown_on=len(scores),
        scores=tuple(scores),
        errors=tuple(errors),
    )
    return calibration if calibration.certificate is not None else _off(calibration, bound, confidence)


def tighten(
    calibration: Calibration, pairs: Sequence[LabelledPair], vectors: Vectors, *, bound: float, confidence: float
) -> Calibration:
    """Hold a calibration against pairs that use itself labelled: they make it stricter, never looser.

    Such pairs are hits, so they show what is above the threshold and nothing of what is below it; and whoever uses the
    cache has a hand in them. So the bound must be shown with them as well as without.

    Args:
        vectors: The embeddings of each pair's ``a`` and ``b``, in turn, one a row, of length 1.
    """
    alone = calibration.certificate
    if alone is None or not pairs:
        return calibration
    scores, errors = _from_pairs(pairs, vectors, calibration.verifier)
    both = certify([*calibration.scores, *scores], [*calibration.errors, *errors], bound=bound, confidence=confidence)
    tightened = msgspec.structs.replace(
        calibration,
        certificate=both if both is None or both.threshold > alone.threshold else alone,
        shown_on=calibration.shown_on + len(pairs),
    )
    return tightened if both is not None else _off(tightened, bound, confidence)


def _off(calibration: Calibration, bound: float, confidence: float) -> Calibration:
    problem = (
        f"{calibration.shown_on} labelled examples do not show that at most {bound:.2%} of the hits are false with "
        f"confidence {confidence:.0%}: the semantic cache stays off. Label more, or allow more false hits."
    )
    return msgspec.structs.replace(calibration, problem=problem)


def match_all(
    verifier: Verifier,
    questions: Vectors,
    readings: Sequence[Reading],
    kept: Vectors,
    kept_readings: Sequence[Reading],
    *,
    among_themselves: bool = False,
) -> list[Match | None]:
    """Find the best kept question for each new one, as the cache does: among the nearest, verified. Place: its row.

    Args:
        among_themselves: New and kept questions are the same ones, and none is its own match.
    """
    found: list[Match | None] = []
    for start in range(0, len(questions), _BLOCK):
        block = questions[start : start + _BLOCK] @ kept.T
        for row, cosines in enumerate(block, start):
            if among_themselves:
                cosines[row] = -1
            near = _nearest(cosines)
            best = choose(
                verifier.scores(questions[row], kept[near]), readings[row], [kept_readings[place] for place in near]
            )
            match = None if best is None else Match(place=near[best.place], score=best.score)
            found.append(None if match is not None and among_themselves and match.place == row else match)
    return found


def _nearest(cosines: Vectors) -> list[int]:
    if len(cosines) <= CANDIDATES:
        return list(range(len(cosines)))
    return np.argpartition(-cosines, CANDIDATES)[:CANDIDATES].tolist()


def _from_questions(
    questions: Sequence[LabelledQuestion], vectors: Vectors
) -> tuple[Verifier, int, list[float], list[bool]]:
    """Learn from one part. Of the other part, each half asks a cache that holds the other half.

    So neither what asks nor what is kept was learned from, as it will be in use.
    """
    parts = np.array([_part(question.text) for question in questions])
    learned: list[int] = np.flatnonzero(parts == 0).tolist()
    intents = [question.intent for question in questions]
    verifier = Verifier(topics=learn_topics(vectors[learned], [intents[row] for row in learned]))
    readings = [read(question.text) for question in questions]
    scores: list[float] = []
    errors: list[bool] = []
    halves: tuple[list[int], list[int]] = np.flatnonzero(parts == 1).tolist(), np.flatnonzero(parts == 2).tolist()
    for asked, kept in (halves, halves[::-1]):
        for row, match in zip(asked, _match(verifier, vectors, readings, asked, kept), strict=True):
            scores.append(match.score if match else 0.0)
            errors.append(match is None or intents[kept[match.place]] != intents[row])
    return verifier, len(learned), scores, errors


def _match(
    verifier: Verifier, vectors: Vectors, readings: Sequence[Reading], asked: list[int], kept: list[int]
) -> list[Match | None]:
    return match_all(
        verifier, vectors[asked], [readings[row] for row in asked], vectors[kept], [readings[row] for row in kept]
    )


def _part(text: str) -> int:
    """Choose by the text itself, so that the same question is never in two parts: 0 learned from, 1 and 2 shown on."""
    digest = hashlib.sha256(text.casefold().encode()).digest()
    return 0 if digest[0] * 100 < _LEARNED_PERCENT * 256 else 1 + digest[1] % 2


def _from_pairs(pairs: Sequence[LabelledPair], vectors: Vectors, verifier: Verifier) -> tuple[list[float], list[bool]]:
    scores: list[float] = []
    for number, pair in enumerate(pairs):
        a, b = vectors[2 * number], vectors[2 * number + 1]
        match = choose(verifier.scores(b, a[None]), read(pair.b), [read(pair.a)])
        scores.append(match.score if match else 0.0)
    return scores, [not pair.same for pair in pairs]
