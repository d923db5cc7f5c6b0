"""Figures as people read them."""

import pytest

from backstay.console.format import browser, change, compact, count, duration, exact_money, money, percent


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "unknown"),
        (0, "$0"),
        (1, "$0.000000001"),
        (412_000, "$0.00041"),
        (3_240, "$0.0000032"),
        (19_700_000, "$0.0197"),
        (230_000, "$0.00023"),
        (500_000_000, "$0.50"),
        (999_400_000, "$0.999"),
        (999_600_000, "$1.00"),
        (214_860_000_000, "$214.86"),
        (1_234_567_890_000_000, "$1,234,567.89"),
        (-19_700_000, "−$0.0197"),
    ],
)
def test_money_has_the_digits_that_matter(nano: int | None, text: str) -> None:
    """Three digits below a dollar, cents above it; what is unknown is never 0."""
    assert money(nano) == text


def test_exact_money_is_exact() -> None:
    """To the last nano-dollar."""
    assert (exact_money(412_001), exact_money(None)) == ("$0.000412001", "unknown")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (0, "0"),
        (986, "986"),
        (999, "999"),
        (1_000, "1.00 k"),
        (4_412, "4.41 k"),
        (412_300, "412 k"),
        (999_600, "1.00 M"),
        (1_280_000, "1.28 M"),
        (2_000_000_000, "2.00 G"),
    ],
)
def test_compact_counts_have_three_digits(number: int | None, text: str) -> None:
    """Large counts are rounded, small ones exact."""
    assert str(compact(number)) == text


def test_exact_counts_separate_thousands() -> None:
    """As in 1,912."""
    assert (count(1912), count(None)) == ("1,912", "–")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (None, "–"),
        (0, "0.0 ms"),
        (300, "1 µs"),
        (42_400, "42 µs"),
        (99_600, "0.1 ms"),
        (400_000, "0.4 ms"),
        (318_000_000, "318 ms"),
        (999_600_000, "1.00 s"),
        (2_870_000_000, "2.87 s"),
        (61_000_000_000, "61.0 s"),
        (180_000_000_000, "3.00 min"),
    ],
)
def test_durations_have_a_unit_that_suits(nanoseconds: int | None, text: str) -> None:
    """Milliseconds, seconds, minutes."""
    assert str(duration(nanoseconds)) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 100, "0 %"),
        (2, 10_000, "0.02 %"),
        (1, 1_000_000, "<0.01 %"),
        (31, 1000, "3.1 %"),
        (71, 100, "71 %"),
        (1, 0, "–"),
    ],
)
def test_shares_tell_a_little_from_nothing(part: int, whole: int, text: str) -> None:
    """A rare error is not rounded to none; nothing out of nothing is no share."""
    assert str(percent(part, whole)) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [
        (106, 100, "+6 %"),
        (94, 100, "−6 %"),
        (100, 100, "unchanged"),
        (5, 0, None),
        (0, 5, "−100 %"),
        (2300, 100, "23 ×"),
    ],
)
def test_changes_compare_with_before(now: int, before: int, text: str | None) -> None:
    """In per cent, or as a multiple where that is clearer; nothing to compare with is no change."""
    assert change(now, before) == text


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0", "Firefox on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1", "Safari on iPhone"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
    ],
)
def test_browsers_have_names(user_agent: str, name: str) -> None:
    """Enough to tell one's own sessions apart."""
    assert browser(user_agent) == name
