"""Owns how Backstay's own command is called: the one of this interpreter's environment."""

import sys
from pathlib import Path


def backstay() -> list[str]:
    """Give the command line that everything else is appended to."""
    return [str(Path(sys.executable).with_name("backstay"))]
