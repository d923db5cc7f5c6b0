"""Owns where the shared data sets are that some tests measure on."""

import os
from pathlib import Path

import pytest

_FOLDER = Path(os.environ.get("BACKSTAY_DATA") or Path(__file__).parents[2] / "shared" / "data")


def shared_data(name: str) -> Path:
    """Return the folder of a data set. Where it is absent, the test is skipped; in CI it fails."""
    folder = _FOLDER / name
    if not folder.is_dir():
        missing = f"the data set {name} is not at {folder}; BACKSTAY_DATA says where the sets are"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return folder
