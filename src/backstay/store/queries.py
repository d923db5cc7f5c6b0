"""Owns the reading of named queries from ``.sql`` files, the only place where SQL is written."""

import re
from importlib.resources import files
from typing import LiteralString, cast

_HEADING = re.compile(r"^--\s*name:\s*(\w+)\s*$", re.MULTILINE)


def load_queries(package: str, file: str = "queries.sql") -> dict[str, LiteralString]:
    """Read the queries of a room: each begins at a line ``-- name: foo`` and ends before the next.

    The text is the package's own source, hence the literal type that the driver asks for.

    Raises:
        ValueError: Two queries have one name, or one is empty.
    """
    _, *parts = _HEADING.split(files(package).joinpath(file).read_text(encoding="utf-8"))
    queries: dict[str, LiteralString] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{package}/{file} has two queries named {name}")
        if not text.strip():
            raise ValueError(f"{package}/{file} has no text for the query {name}")
        queries[name] = cast(LiteralString, text.strip())
    return queries
