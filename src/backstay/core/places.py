"""Owns where things are on this machine until somebody says otherwise."""

import os
from pathlib import Path


def default_data_dir() -> Path:
    """Choose the data folder: ``./.backstay`` where there is one, else the user's data folder (XDG)."""
    here = Path(".backstay")
    if here.is_dir():
        return here.resolve()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "backstay"
