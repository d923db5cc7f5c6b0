"""The plot of the month that runs: what is spent, what is expected, and the same as a table."""

from datetime import UTC, datetime

import pytest

from backstay.console.month import lay_out
from backstay.core.money import NanoUSD
from backstay.ledger.forecasts import History, Outlook, month_of, outlook

_NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
_USD = 1_000_000_000


def _month(days: int) -> Outlook:
    """Ten dollars a day for so many days, five today."""
    today = (_NOW - datetime(1970, 1, 1, tzinfo=UTC)).days
    by_day = {today: 5 * _USD, **{today - back: 10 * _USD for back in range(1, days + 1)}}
    history = History(name=None, days=(10.0 * _USD,) * days, by_day=by_day)
    starts, ends = month_of(_NOW)
    found = outlook(history, NanoUSD(155 * _USD), _NOW, ends)
    return Outlook(
        name=None, spent_nanousd=found.spent_nanousd, expected_nanousd=found.expected_nanousd,
        low_nanousd=None if found.low_nanousd is None else NanoUSD(250 * _USD),
        high_nanousd=None if found.high_nanousd is None else NanoUSD(400 * _USD),
        history_days=days, tried=found.tried, past=history.past(starts, _NOW), daily=found.daily,
    )  # fmt: skip


def _last(points: str) -> tuple[float, float]:
    x, y = points.split()[-1].split(",")
    return float(x), float(y)


def test_the_line_ahead_goes_on_where_the_other_ends() -> None:
    """From now on, to the end of the month; the band opens from there to both ends of the interval."""
    plot = lay_out(_month(60), _NOW)
    assert plot.ahead.split()[0] == plot.spent.split()[-1]
    assert _last(plot.spent)[0] == pytest.approx(100 * 15.5 / 30, abs=0.01)
    top = 400 * _USD
    assert _last(plot.ahead)[0] == 100
    assert _last(plot.ahead)[1] == pytest.approx(120 * (1 - 300 * _USD / top), abs=1)
    assert plot.band.split()[0] == plot.band.split()[-1] == plot.ahead.split()[0]
    assert [tick.text for tick in plot.ticks] == ["$0", "$100", "$200", "$300", "$400"]


def test_the_table_says_the_same() -> None:
    """A line for each day: what was spent until its end, then what is expected, at least and at most."""
    rows = lay_out(_month(60), _NOW).rows
    assert len(rows) == 16 + 15
    assert (rows[15].at, rows[15].spent_nanousd) == (_NOW, 155 * _USD)
    assert (rows[16].spent_nanousd, rows[16].expected_nanousd) == (None, 160 * _USD)
    assert (rows[-1].low_nanousd, rows[-1].high_nanousd) == (250 * _USD, 400 * _USD)


def test_without_history_there_is_nothing_ahead() -> None:
    """Two days allow no forecast, two weeks no interval."""
    assert (lay_out(_month(2), _NOW).ahead, lay_out(_month(2), _NOW).band) == ("", "")
    weeks = lay_out(_month(14), _NOW)
    assert (weeks.ahead != "", weeks.band, weeks.rows[-1].high_nanousd) == (True, "", None)
