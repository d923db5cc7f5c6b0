"""Tests of the embedded server: fresh, warm, killed, taken over, misplaced."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest

from backstay.core.errors import ConfigError
from backstay.store import EmbeddedPostgres
from backstay.store.postmaster import find_postmaster, process_ended


@pytest.fixture(scope="module")
def made_once(new_data_dir: Callable[[], Path]) -> Path:
    """A data folder with a server that was started and stopped: making one takes most of a second."""
    folder = new_data_dir()

    async def make() -> None:
        server = EmbeddedPostgres(folder)
        await server.start()
        await server.stop()

    asyncio.run(make())
    return folder


@pytest.fixture
async def server(made_once: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server in that folder, not started; stopped after the test."""
    server = EmbeddedPostgres(made_once)
    yield server
    await server.stop()


@pytest.fixture
def data_dir(made_once: Path, server: EmbeddedPostgres) -> Path:
    """The server's data folder."""
    return made_once


async def ask(url: str, question: str = "select 1") -> object:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(question.encode())).fetchone()
    return row[0] if row else None


def pid_of(data_dir: Path) -> int:
    postmaster = find_postmaster(data_dir / "pg" / "data")
    assert postmaster is not None
    return postmaster.pid


async def test_a_server_starts_answers_and_stops(server: EmbeddedPostgres) -> None:
    """It keeps time in UTC, text in UTF-8, checksums its pages, waits for the disk, and has no TCP port."""
    url = await server.start()
    names = ["server_encoding", "data_checksums", "timezone", "listen_addresses", "fsync", "synchronous_commit"]
    assert [await ask(url, f"show {name}") for name in names] == ["UTF8", "on", "UTC", "", "on", "on"]
    assert server.is_running()
    await server.stop()
    assert not server.is_running()
    await server.stop()


async def test_a_warm_start_is_fast(server: EmbeddedPostgres) -> None:
    """A server whose data folder is there starts within two seconds, on a busy machine too."""
    began = time.monotonic()
    await server.start()
    assert time.monotonic() - began < 2.0


async def test_only_its_user_may_enter_the_socket(server: EmbeddedPostgres, data_dir: Path) -> None:
    """Neither the socket nor its folder is open to anybody else."""
    await server.start()
    folder = data_dir / "pg" / "run"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700


async def test_a_running_server_is_taken_over(server: EmbeddedPostgres, data_dir: Path) -> None:
    """A second start finds the server that runs, and a stop by whoever took it over ends it."""
    url = await server.start()
    pid = pid_of(data_dir)
    second = EmbeddedPostgres(data_dir)
    assert await second.start() == url
    assert pid_of(data_dir) == pid
    await second.stop()
    assert not server.is_running()


async def test_starts_together_make_one_server(server: EmbeddedPostgres, data_dir: Path) -> None:
    """Two processes that start at once end with the same server."""
    servers = [server, EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)]
    urls = await asyncio.gather(*(each.start() for each in servers))
    assert len(set(urls)) == 1
    assert await ask(urls[0]) == 1
    for each in servers:
        await each.stop()


async def test_a_killed_server_recovers(server: EmbeddedPostgres, data_dir: Path) -> None:
    """After kill -9 committed rows are there again, ``wait`` tells of it, and an open connection is no obstacle."""
    url = await server.start()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("drop table if exists kept")
        await connection.execute("create table kept as select 42 as answer")
        death = asyncio.create_task(server.wait())
        await asyncio.sleep(0)
        os.kill(pid_of(data_dir), signal.SIGKILL)
        assert isinstance(await asyncio.wait_for(death, 5), str)
    assert not server.is_running()
    assert await ask(await server.start(), "select answer from kept") == 42


async def test_a_stale_pid_file_is_no_obstacle(server: EmbeddedPostgres, data_dir: Path) -> None:
    """A pid file that was left over, whose number another program has now, does not stop a start."""
    sleeper = await asyncio.create_subprocess_exec("sleep", "60", user=(data_dir / "pg").stat().st_uid)
    try:
        pid_file = data_dir / "pg" / "data" / "postmaster.pid"
        pid_file.write_text(f"{sleeper.pid}\n{data_dir}/pg/data\n1\n5432\n{data_dir}/pg/run\n\n\nready\n")
        os.chown(pid_file, (data_dir / "pg").stat().st_uid, -1)
        assert find_postmaster(data_dir / "pg" / "data") is None
        assert await ask(await server.start()) == 1
        assert sleeper.returncode is None
    finally:
        sleeper.kill()
        await sleeper.wait()


async def test_another_version_is_refused(server: EmbeddedPostgres, data_dir: Path) -> None:
    """A data folder of another major version is left alone, and the sentence says how to go on."""
    version = data_dir / "pg" / "data" / "PG_VERSION"
    version.write_text("15\n")
    try:
        with pytest.raises(ConfigError, match=r"made by PostgreSQL 15.*pg_dump"):
            await server.start()
    finally:
        version.write_text("18\n")


async def test_a_broken_folder_is_told_with_the_servers_words(server: EmbeddedPostgres, data_dir: Path) -> None:
    """What the server logged last is in the sentence."""
    settings = data_dir / "pg" / "data" / "postgresql.auto.conf"
    text = settings.read_text()
    settings.write_text("nonsense = here\n")
    try:
        with pytest.raises(ConfigError, match=r"did not start.*nonsense"):
            await server.start()
    finally:
        settings.write_text(text)


async def test_a_long_path_gets_a_short_socket(new_data_dir: Callable[[], Path]) -> None:
    """A data folder too deep for a socket's address works; its socket is elsewhere, and gone after the stop."""
    deep = new_data_dir() / ("d" * 60) / ("e" * 60)
    server = EmbeddedPostgres(deep)
    url = await server.start()
    try:
        postmaster = find_postmaster(deep / "pg" / "data")
        assert postmaster is not None
        assert await ask(url) == 1
        assert os.stat(postmaster.socket_dir).st_mode & 0o777 == 0o700
        assert not postmaster.socket_dir.startswith(str(deep))
    finally:
        await server.stop()
    with pytest.raises(FileNotFoundError):
        os.stat(postmaster.socket_dir)


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """Where there is no space for a data folder, the sentence says so, and nothing half made is used later."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or (await asyncio.to_thread(subprocess.run, command, capture_output=True)).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        with pytest.raises(ConfigError, match="No space left on device"):
            await EmbeddedPostgres(tmp_path).start()
        assert not (tmp_path / "pg" / "data").exists()
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(tmp_path)], check=True)


async def test_ctrl_c_does_not_reach_the_server(server: EmbeddedPostgres, data_dir: Path) -> None:
    """The server is in a session of its own, apart from the terminal's."""
    await server.start()
    assert os.getsid(pid_of(data_dir)) != os.getsid(0)


async def test_a_process_that_is_gone_is_not_waited_for() -> None:
    """Waiting for a process that has ended already returns at once."""
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    await asyncio.wait_for(process_ended(process.pid), 1)
