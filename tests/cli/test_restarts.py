"""What the command line asks may be asked again while the server is started again, and not for ever."""

import time
from collections.abc import Iterator

import pytest

from backstay.cli.exits import Unreachable
from backstay.cli.ingests import through_a_restart


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that goes on by what is slept, and by nothing else."""
    now = [0.0]

    def sleep(pause_s: float) -> None:
        now[0] += pause_s

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    yield now


def test_a_server_that_comes_back_is_asked_again(clock: list[float]) -> None:
    """Its answer is the answer."""

    def ask() -> str:
        if clock[0] < 40:
            raise Unreachable("No server answers.")
        return "there"

    assert through_a_restart(ask) == "there"


def test_a_server_that_stays_away_is_told(clock: list[float]) -> None:
    """After a minute."""

    def ask() -> str:
        raise Unreachable("No server answers.")

    with pytest.raises(Unreachable):
        through_a_restart(ask)
    assert 60 < clock[0] < 63
