"""Tests of named queries."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest

from backstay.store import load_queries


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an importable package, named as the folder is."""
    folder = tmp_path / f"room_{uuid4().hex}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return folder


def test_queries_are_found_by_name(package: Path) -> None:
    """A query is the text between its heading and the next, comments included."""
    (package / "queries.sql").write_text("-- about\n-- name: one\nselect 1;\n\n-- name: two\n-- why\nselect 2\n")
    assert load_queries(package.name) == {"one": "select 1;", "two": "-- why\nselect 2"}


@pytest.mark.parametrize(
    "text", ["-- name: a\nselect 1\n-- name: a\nselect 2\n", "-- name: a\n\n-- name: b\nselect 1\n"]
)
def test_a_wrong_file_is_refused(package: Path, text: str) -> None:
    """Two queries of one name, or one without text, are a mistake of the room."""
    (package / "wrong.sql").write_text(text)
    with pytest.raises(ValueError, match=r"query|queries"):
        load_queries(package.name, "wrong.sql")
