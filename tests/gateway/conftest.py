"""Owns the fixture of the gateway's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_house import House, open_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A gateway with a journal of its own and no models yet."""
    with open_house(tmp_path) as house:
        yield house
