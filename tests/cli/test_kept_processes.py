"""The pauses between a worker's lives, and the settings that it gets."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from backstay.core.settings import Settings
from backstay.supervisor.processes import LONGEST_PAUSE_S, child_environment, pause_s


def test_the_first_death_costs_no_pause() -> None:
    """A worker that was well is replaced at once."""
    assert [pause_s(deaths) for deaths in (0, 1, 2, 3, 4)] == [0.0, 0.0, 0.1, 0.2, 0.4]


@given(st.integers(0, 10_000))
def test_pauses_grow_and_are_bounded(deaths: int) -> None:
    """More deaths in a row never mean a shorter pause, and no pause is longer than the limit."""
    assert pause_s(deaths) <= pause_s(deaths + 1) <= LONGEST_PAUSE_S


def test_a_worker_reads_the_settings_that_the_supervisor_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings survive the way through the environment, secrets too."""
    settings = Settings(
        port=1234,
        workers=3,
        data_dir=tmp_path,
        local_models=False,
        database_url=SecretStr("postgresql://x"),
        drain_s=1.5,
    )
    for name, value in child_environment(settings, {}).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
