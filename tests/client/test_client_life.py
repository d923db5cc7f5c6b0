"""Tests of a client's life: who calls, how it opens and ends, threads, forks, and programs that die."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from client_house import POLICY, House

from backstay import AsyncClient, Client
from backstay.core.errors import ClientUnusable, ConfigError
from serving import Server, environment, eventually, serving

BODY = {"model": "sim", "messages": [{"role": "user", "content": "Hello?"}]}
SLOW = {**BODY, "model": "slow", "stream": True}
SOURCE = str(Path(__file__).parents[2] / "src")


def program(code: str, cwd: Path, **named: str) -> subprocess.Popen[str]:
    """Start a program of a user's."""
    env = environment(PYTHONPATH=SOURCE, **named)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=cwd, env=env)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "backstay.toml").write_text(POLICY)
    with serving(tmp_path) as server:
        yield server


def test_the_face_loads_nothing():
    """Importing the package loads none of its modules: the client comes when it is asked for."""
    code = "import backstay, sys; print(len([m for m in sys.modules if m.startswith('backstay.')]))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment(PYTHONPATH=SOURCE))
    assert loaded.strip() == "0"


def test_closing_ships_all_and_leaves_nothing(house: House, unshipped: Callable[[], list[str]]):
    """After ``close`` the books are whole, and no thread, folder or open file of the client is left."""
    Client(**house.options).close()
    gc.collect()  # what tests before this one left open must not count as closed here
    threads, files = threading.active_count(), psutil.Process().num_fds()
    client = Client(**house.options)
    traces = {client.call("chat", BODY).headers["x-backstay-trace-id"] for _ in range(20)}
    client.close()
    client.close()
    assert set(house.calls()) == traces
    assert unshipped() == []
    assert threading.active_count() == threads
    assert psutil.Process().num_fds() <= files
    with pytest.raises(ClientUnusable, match="closed"):
        client.call("chat", BODY)


def test_a_key_is_good_for_one_call_of_all_clients(house: House):
    """What one client was answered is given again by the next, as the same bytes and at no cost."""
    answers: list[Any] = []
    for _ in range(2):
        with Client(**house.options) as client:
            answers.append(client.call("chat", BODY, headers={"Idempotency-Key": "order-1"}))
    first, again = answers
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert again.body == first.body
    assert again.headers["x-backstay-origin-trace-id"] == first.headers["x-backstay-trace-id"]


def test_closing_waits_for_readers_and_not_for_the_forgotten(house: House):
    """A call that a thread waits for is finished; a stream that nobody reads is cut, soon."""
    client = Client(**house.options)
    with ThreadPoolExecutor() as pool:
        waited_for = pool.submit(client.call, "chat", {**BODY, "model": "paused"})
        time.sleep(0.2)
        forgotten = client.call("chat", SLOW)
        began = time.monotonic()
        client.close()
    assert waited_for.result().status == 200
    assert time.monotonic() - began < 5
    calls = house.calls()
    assert calls[waited_for.result().headers["x-backstay-trace-id"]][0] == "ok"
    assert calls[forgotten.headers["x-backstay-trace-id"]][0] == "cancelled"


def test_threads_share_a_client(house: House):
    """Sixteen threads call at once; each call is in the books once."""
    with Client(**house.options) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(client.call, ["chat"] * 200, [BODY] * 200))
    assert {answer.status for answer in answers} == {200}
    assert set(house.calls()) == {answer.headers["x-backstay-trace-id"] for answer in answers}


async def test_cancelling_cancels_the_call(house: House):
    """A task that is cancelled while it waits takes its call with it, and no task is left."""
    before = asyncio.all_tasks()
    async with AsyncClient(**house.options) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.call("chat", {**BODY, "model": "late"})
    assert [status for status, _ in house.calls().values()] == ["cancelled"]
    assert asyncio.all_tasks() == before


def test_a_client_belongs_to_one_loop(house: House):
    """Used on another loop it says so, instead of hanging."""
    client = AsyncClient(**house.options)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.open())
    with pytest.raises(ClientUnusable, match="another event loop"):
        asyncio.run(client.open())
    loop.run_until_complete(client.close())
    loop.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told(house: House, unshipped: Callable[[], list[str]]):
    """A child is told to make its own client, ends in peace, and holds no lock of its parent's journal."""
    client = Client(**house.options)
    client.call("chat", BODY)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.call("chat", BODY)
        except ClientUnusable as error:
            client.close()
            os.write(tell, b"told" if "after the fork" in error.message else b"lost")
        signal.pause()
    try:
        assert os.read(told, 4) == b"told"
        client.close()
        assert unshipped() == []
        assert len(house.calls()) == 1
    finally:
        os.close(told)
        os.close(tell)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_calls(server: Server):
    """A key calls for its tenant and within its rights; a wrong one is refused; the operator for any tenant."""
    where: dict[str, Any] = {"data_dir": server.data_dir, "config": server.folder / "backstay.toml"}
    created = server.ask("keys", "create", "--name", "mine", "--models", "sim")
    with Client(created["key"], **where) as client:
        trace_id = client.call("chat", BODY, feature="search").headers["x-backstay-trace-id"]
        assert client.call("chat", {**BODY, "model": "slow"}).status in (403, 404)
        server.ask("keys", "revoke", created["id"])
        eventually(lambda: client.call("chat", BODY).status == 401, 20)
    found = eventually(lambda: server.ask("traces", "list", "--feature", "search")["traces"], 20)
    assert [row["trace_id"] for row in found] == [trace_id]
    with Client("bs_abcdefghij_" + "x" * 32, **where) as client:
        assert client.call("chat", BODY).status == 401
    with pytest.raises(ConfigError, match="a key or a tenant"):
        Client("bs_x", tenant="acme", **where)


def test_a_killed_program_is_in_the_servers_books(server: Server):
    """After ``kill -9`` the server ships the client's journal: answered calls, and the open one as interrupted."""
    code = f"""
from backstay import Client
client = Client()
print(client.call("chat", {BODY}).headers["x-backstay-trace-id"])
held = client.call("chat", {SLOW})  # dropped, it would be cancelled
print(held.headers["x-backstay-trace-id"], flush=True)
import time; time.sleep(60)
"""
    named = {"BACKSTAY_DATA_DIR": str(server.data_dir)}
    with program(code, server.folder, **named) as process:
        assert process.stdout is not None
        answered, opened = process.stdout.readline().strip(), process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)

    def statuses() -> dict[str, str]:
        return {row["trace_id"]: row["status"] for row in server.ask("traces", "list")["traces"]}

    eventually(lambda: {answered, opened} <= set(statuses()), 20)
    assert statuses() == {answered: "ok", opened: "interrupted"}


def test_a_client_alone_brings_its_postgres_and_takes_it_away(new_data_dir: Callable[[], Path], tmp_path: Path):
    """Without a server a client starts the embedded Postgres; at the program's end all is shipped and nothing runs.

    The next one finds the books; programs that close nothing, synchronous and not, end the same way.
    """
    data_dir = new_data_dir()
    named = {"BACKSTAY_DATA_DIR": str(data_dir)}
    careless = f"""
from backstay import Client
client = Client()
print(client.call("chat", {BODY}).headers["x-backstay-trace-id"])
"""
    careless_async = f"""
import asyncio
from backstay import AsyncClient
async def main():
    client = AsyncClient()
    print((await client.call("chat", {BODY})).headers["x-backstay-trace-id"])
asyncio.run(main())
"""
    traces: list[str] = []
    for code in (careless, careless_async):
        with program(code, tmp_path, **named) as process:
            assert process.stdout is not None
            traces.append(process.stdout.read().strip())
        assert process.returncode == 0 and traces[-1]
        assert [p for p in psutil.process_iter(["cmdline"]) if str(data_dir) in " ".join(p.info["cmdline"] or [])] == []
    with Client(data_dir=data_dir):
        house = House(options={}, url=_database_url(data_dir))
        assert {house.booked(trace_id)[0] for trace_id in traces} == {"ok"}


def _database_url(data_dir: Path) -> str:
    lines = (data_dir / "pg" / "data" / "postmaster.pid").read_text().splitlines()
    return f"postgresql://backstay@/backstay?host={lines[4]}"


def test_an_absent_postgres_stops_no_call(house: House, unshipped: Callable[[], list[str]]):
    """With Postgres away calls go on, the client closes in good time, and the next one ships what it left."""
    away = {**house.options, "database_url": "postgresql://nobody@127.0.0.1:1/nothing"}
    began = time.monotonic()
    with Client(**away) as client:
        trace_id = client.call("chat", BODY).headers["x-backstay-trace-id"]
    assert time.monotonic() - began < 10
    assert len(unshipped()) == 1
    with Client(**house.options):
        assert house.booked(trace_id)[0] == "ok"
    assert unshipped() == []


def test_a_wrong_policy_leaves_nothing_running(house: House, tmp_path: Path):
    """The client says what is wrong with the file, and neither thread nor journal is left."""
    (tmp_path / "backstay.toml").write_text("[models.x]\ntargets = []\n")
    threads = threading.active_count()
    with pytest.raises(ConfigError, match="targets"):
        Client(**house.options)
    assert threading.active_count() == threads
