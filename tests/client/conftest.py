"""Owns the fixtures of the clients' tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from client_house import POLICY, House


@pytest.fixture
def house(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> House:
    """A data folder and a database of its own, with the policy above."""
    for name in ("BACKSTAY_KEY", "BACKSTAY_DATABASE_URL", "BACKSTAY_DATA_DIR", "BACKSTAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "backstay.toml"
    config.write_text(POLICY)
    options = {"config": config, "data_dir": tmp_path / "data", "database_url": database_url}
    return House(options=options, url=database_url)


@pytest.fixture
def unshipped(house: House) -> Callable[[], list[str]]:
    """List the folders of journals that are not shipped yet."""
    return lambda: sorted(path.name for path in (house.data_dir / "journal").iterdir() if path.is_dir())
