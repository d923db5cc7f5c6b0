"""Time ranges: what an address says of them, and how plots divide them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.console.window import RANGES, read_window
from backstay.core.errors import InvalidRequest

NOW = datetime(2026, 5, 4, 14, 32, 7, tzinfo=UTC)

moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@given(moments, st.sampled_from(sorted(RANGES)))
def test_named_ranges_hold_now_and_whole_buckets(now: datetime, name: str) -> None:
    """A range ends with the bucket that is running, and is cut into buckets without a rest."""
    window = read_window({"range": name}, now)
    length, bucket = RANGES[name]
    assert window.since < now <= window.until < now + bucket
    assert window.since + window.buckets * bucket == window.until == window.since + length


@given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=366)))
def test_own_spans_are_cut_into_a_plot_full_of_buckets(since: datetime, length: timedelta) -> None:
    """Any span has 1 to 54 buckets; the first may begin before it, and the last reach beyond its end."""
    until = since + length
    window = read_window({"since": since.isoformat(), "until": until.isoformat()}, NOW)
    assert 1 <= window.buckets <= 54
    assert window.starts[0] <= since < window.starts[0] + window.bucket
    assert window.starts[-1] < until <= window.starts[-1] + window.bucket


@given(moments, st.timedeltas(timedelta(seconds=1), timedelta(days=366)))
def test_bars_lead_to_all_of_a_span_once(since: datetime, length: timedelta) -> None:
    """The addresses of the buckets follow on each other, from the span's beginning to its end."""
    window = read_window({"since": since.isoformat(), "until": (since + length).isoformat()}, NOW)
    spans = [window.bucket_query(start) for start in window.starts]
    assert all(before["until"] == after["since"] for before, after in pairwise(spans))
    assert {"since": spans[0]["since"], "until": spans[-1]["until"]} == window.query


def test_an_address_leads_to_the_same_window_again() -> None:
    """Both for a named range and for a span of its own."""
    for query in ({"range": "7d"}, {"since": "2026-05-01T00:00:00Z", "until": "2026-05-02T00:00:00+02:00"}):
        window = read_window(query, NOW)
        assert read_window(window.query, NOW) == window


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"range": "8d"}, "range"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-05-01T00:00:00"}, "since"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"since": "0001-01-01T00:00:00Z", "until": "0001-01-02T00:00:00Z"}, "since"),
        ({"since": "9999-12-31T23:00:00Z", "until": "9999-12-31T23:30:00Z"}, "since"),
        ({"since": "2026-05-01T00:00:00Z", "until": "2026-05-01T00:00:00Z"}, "until"),
        ({"since": "2020-05-01T00:00:00Z"}, "until"),
    ],
)
def test_what_is_no_time_is_refused_by_name(query: dict[str, str], param: str) -> None:
    """Unknown ranges, times without a zone, and spans that end before they begin."""
    with pytest.raises(InvalidRequest) as refused:
        read_window(query, NOW)
    assert refused.value.param == param
