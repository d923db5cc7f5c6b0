"""What a folder on a command line holds: each file that cannot be taken is told, and the others are taken."""

import errno
import os
from pathlib import Path

import pytest

from backstay.cli.sources import Sources


def told(sources: Sources) -> tuple[list[str], dict[str, str]]:
    """Return the external ids of what is found, and what is told of the rest."""
    found = [source.external_id for source in sources.documents()]
    return found, {each["external_id"]: each["problem"] for each in sources.left_out}


def test_names_that_cannot_be_ids_and_links_that_lead_nowhere_are_told(tmp_path: Path) -> None:
    """By file, with what to do; folders in a circle are gone through once, and hidden files are left out."""
    for name in (b"good.md", b"bad\xff.txt", b"line\nbreak.txt", b" blank.txt", b".hidden"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inner.md").write_text("x")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "to-good.md").symlink_to("good.md")
    os.mkfifo(tmp_path / "pipe.txt")
    found, problems = told(Sources([tmp_path], []))
    assert found == ["good.md", "to-good.md", "sub/inner.md"]
    assert problems == {
        "bad\ufffd.txt": "bad\ufffd.txt has a name that is not UTF-8. Rename it, and ingest it again.",
        "line\ufffdbreak.txt": "line\ufffdbreak.txt has a line break or another control character in its name. "
        "Rename it, and ingest it again.",
        " blank.txt": " blank.txt has a blank at the beginning or end of its name. Rename it, and ingest it again.",
        "itself": "itself is a link that leads nowhere. Mend it, or take it away.",
    }


def test_what_may_not_be_read_is_told_and_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, whose neighbours are taken; and each look tells anew."""
    (tmp_path / "a.md").write_text("x")
    (tmp_path / "b.md").write_text("x")
    whole = Path.open

    def guarded(path: Path, mode: str = "r") -> object:
        if path.name == "a.md":  # tests may run as root, whom no mode of a file keeps out
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path, mode)

    monkeypatch.setattr(Path, "open", guarded)
    sources = Sources([tmp_path], [])
    expected = {"a.md": "a.md cannot be read: Permission denied. Get the right to read it, or leave it out."}
    assert told(sources) == (["b.md"], expected)
    assert told(sources) == (["b.md"], expected)
    assert set(sources.state()) == {tmp_path / "a.md", tmp_path / "b.md"}
