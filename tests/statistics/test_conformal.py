"""Tests of thresholds by conformal risk control: the promise holds at the mean, and few examples promise nothing."""

import math
import random

import pytest

from backstay.statistics.conformal import control_risk


def test_the_lowest_threshold_that_keeps_the_rate_is_chosen() -> None:
    """Of 19 questions, one may be wrong at a rate of 0.1: with one more, (1 + 1) / 20 is just 0.1."""
    scores = [1 - n / 20 for n in range(19)]
    wrong = [n in (5, 9) for n in range(19)]
    chosen = control_risk(scores, wrong, rate=0.1)
    assert (chosen.threshold, chosen.answered, chosen.wrong) == (scores[8], 9, 1)


def test_equal_scores_are_answered_together() -> None:
    """A threshold cannot part them, so that where one of them is too much, none is answered."""
    chosen = control_risk([0.9, 0.9, *[0.5] * 7], [False, True, *[False] * 7], rate=0.15)
    assert (chosen.threshold, chosen.answered) == (math.inf, 0)
    assert control_risk([0.9, 0.9, *[0.5] * 7], [False] * 8 + [True], rate=0.15).answered == 2


def test_where_all_may_be_answered_so_is_what_is_below_all_examples() -> None:
    """None of twenty is wrong, or any may be: there is no threshold."""
    assert control_risk([0.5] * 20, [False] * 20, rate=0.1).threshold == -math.inf
    assert control_risk([0.5, 0.7], [True, True], rate=1.0).threshold == -math.inf


def test_few_examples_promise_nothing() -> None:
    """With eight, none of them wrong, the next may still be wrong with a chance of 1 in 9."""
    assert control_risk([0.5] * 8, [False] * 8, rate=0.1).threshold == math.inf
    assert control_risk([], [], rate=0.5).answered == 0


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_promise_holds_at_the_mean(rate: float) -> None:
    """Over two thousand draws of examples, one more question is answered wrongly at most as often as allowed."""
    chance = random.Random(3)

    def draw() -> tuple[float, bool]:
        score = chance.random()
        return score, chance.random() > score

    wrong = 0
    for _ in range(2000):
        examples, (score, is_wrong) = [draw() for _ in range(60)], draw()
        chosen = control_risk([each for each, _ in examples], [flag for _, flag in examples], rate=rate)
        wrong += is_wrong and score >= chosen.threshold
    assert rate / 3 < wrong / 2000 <= rate + 3 * math.sqrt(rate * (1 - rate) / 2000)
