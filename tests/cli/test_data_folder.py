"""The data folder: locked, versioned, private."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from backstay.core.errors import ConfigError, Conflict
from backstay.data_folder import (
    RunningServer,
    open_data_folder,
    read_operator_token,
    read_secret,
    running_server,
    write_private,
)


def test_secrets_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    """The second start finds the first one's secrets; nobody else can read them."""
    with open_data_folder(tmp_path / "data"):
        first = read_secret(tmp_path / "data"), read_operator_token(tmp_path / "data")
    with open_data_folder(tmp_path / "data"):
        assert (read_secret(tmp_path / "data"), read_operator_token(tmp_path / "data")) == first
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()}
    assert modes == dict.fromkeys(["VERSION", "lock", "operator-token", "secret"], 0o600)


def test_two_supervisors_cannot_share_a_folder(tmp_path: Path) -> None:
    """The second is told who is there, and what to do."""
    with open_data_folder(tmp_path) as folder:
        folder.announce(RunningServer(pid=os.getpid(), url="http://127.0.0.1:8400", version="1"))
        with pytest.raises(Conflict, match=rf"http://127.0.0.1:8400, pid {os.getpid()}.*--data-dir"):
            with open_data_folder(tmp_path):
                pass


def test_a_folder_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    """A layout that this Backstay does not know is not touched."""
    (tmp_path / "VERSION").write_text("2\n")
    with pytest.raises(ConfigError, match="a newer Backstay"), open_data_folder(tmp_path):
        pass
    assert (tmp_path / "VERSION").read_text() == "2\n"
    assert not (tmp_path / "secret").exists()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """A path through a file is no folder, and the sentence names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--data-dir"), open_data_folder(tmp_path / "file" / "data"):
        pass


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    """Half a secret would make every key useless: it is an error, not a new one."""
    (tmp_path / "secret").write_text("abcd")
    with pytest.raises(ConfigError, match="restore it"):
        read_secret(tmp_path)


def test_a_dead_server_is_not_running(tmp_path: Path) -> None:
    """The note of a server that was killed is not believed."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    write_private(tmp_path / "run.json", f'{{"pid":{ended.pid},"url":"http://x","version":"1"}}'.encode())
    assert running_server(tmp_path) is None


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    """A disk without room is said before anything is started."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(ConfigError, match=r"The disk of .* is full"), open_data_folder(disk / "data"):
            pass
    finally:
        subprocess.run(["umount", str(disk)], check=True)
