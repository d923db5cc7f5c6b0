"""Owns the fixtures of the tests of traces."""

from pathlib import Path

import pytest
from trace_shipping import Ship

from backstay.store import Database


@pytest.fixture
def ship(database: Database, tmp_path: Path) -> Ship:
    return Ship(database, tmp_path)
