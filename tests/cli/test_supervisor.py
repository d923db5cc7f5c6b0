"""The supervisor with real processes: what starts, what is restarted, what drains, what is left."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from serving import BACKSTAY, LONGEST_S, Server, environment, eventually, run, serving

pytestmark = pytest.mark.timeout(300)

SLOW = """
[providers.slow]
dialect = "simulator"
[providers.slow.script]
answer = "lorem"
output_tokens = 40
tokens_per_second = 20

[models.slow]
targets = ["slow/any"]
"""


def children(server: Server, text: str) -> list[psutil.Process]:
    """Find the processes below the supervisor that live and whose command line has a text."""
    found: list[psutil.Process] = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it ended while it was looked at
            if text in " ".join(process.cmdline()):
                found.append(process)
    return found


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def postgres_of(server: Server) -> psutil.Process:
    return psutil.Process(int((server.data_dir / "pg" / "data" / "postmaster.pid").read_text().splitlines()[0]))


def is_ready(server: Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def traced(server: Server, trace_id: str) -> str | None:
    shown = server.run("traces", "show", trace_id, "--json")
    return json.loads(shown.stdout)["spans"][0]["status"] if shown.returncode == 0 else None


def test_a_server_starts_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """After SIGTERM all processes have ended, the port is free, and the status is 0."""
    with serving(tmp_path, "--workers", "2", postgres="new") as server:
        assert json.loads((server.data_dir / "run.json").read_text())["url"] == server.url
        assert len(children(server, "backstay.worker")) == 2
        assert len(children(server, "backstay.shipping")) == 1
        postgres = postgres_of(server)
        everybody = psutil.Process(server.process.pid).children(recursive=True)
        assert server.ask("ask", "hello", "--model", "sim")["answer"]
        assert server.stop() == 0
        assert [process for process in everybody if alive(process)] == []
        assert not alive(postgres)
        assert not (server.data_dir / "run.json").exists()
        assert [path.name for path in (server.data_dir / "journal").iterdir()] == ["lock"]
        assert server.run("models").returncode == 3


def test_a_second_server_is_refused_with_a_sentence(server: Server) -> None:
    """The data folder has one server, the port too; both are said with the process's id."""
    named = environment(BACKSTAY_DATA_DIR=str(server.data_dir), BACKSTAY_LOCAL_MODELS="false")
    same_folder = run("serve", env=named)
    assert same_folder.returncode == 1
    assert f"pid {server.process.pid}" in same_folder.stderr
    other = environment(BACKSTAY_DATA_DIR=str(server.folder / "other"), BACKSTAY_LOCAL_MODELS="false")
    same_port = run("serve", "--port", server.url.rpartition(":")[2], env=other)
    assert same_port.returncode == 1
    assert "is in use by" in same_port.stderr
    assert "--port" in same_port.stderr


def test_a_killed_worker_is_replaced_and_its_calls_are_in_the_books(tmp_path: Path) -> None:
    """Answers given before `kill -9` are in the books, once; a policy edited badly meanwhile changes nothing."""
    with serving(tmp_path, "--workers", "2") as server:
        asked = [server.ask("ask", f"question {number}", "--model", "sim")["trace_id"] for number in range(5)]
        victims = children(server, "backstay.worker")
        (tmp_path / "backstay.toml").write_text("[models")
        for victim in victims:
            victim.kill()
        eventually(lambda: len(set(children(server, "backstay.worker")) - set(victims)) == 2)
        eventually(lambda: is_ready(server))
        asked.append(server.ask("ask", "one more", "--model", "sim")["trace_id"])
        assert [eventually(lambda each=each: traced(server, each)) for each in asked] == ["ok"] * 6
        assert server.ask("costs", "--by", "model")["total"]["calls"] == 6
        assert "was killed by SIGKILL" in (tmp_path / "server.log").read_text()


def test_a_killed_shipping_process_is_replaced(tmp_path: Path) -> None:
    """Calls made before and after its death get into the books, and what it has shipped is among the metrics."""
    with serving(tmp_path, "--workers", "2") as server:
        asked = [server.ask("ask", "before", "--model", "sim")["trace_id"]]
        (victim,) = children(server, "backstay.shipping")
        victim.kill()
        asked.append(server.ask("ask", "meanwhile", "--model", "sim")["trace_id"])
        assert [eventually(lambda each=each: traced(server, each)) for each in asked] == ["ok"] * 2
        (successor,) = children(server, "backstay.shipping")
        assert successor != victim
        assert "the shipping process was killed by SIGKILL" in (tmp_path / "server.log").read_text()
        eventually(lambda: metric(server, "backstay_journal_shipped_total") >= 1)
        eventually(lambda: metric(server, "backstay_journal_backlog_bytes") == 0)
        assert metric(server, "backstay_journal_rejected_total") == 0
        eventually(lambda: metric(server, "backstay_workers") == 2)


def listens(process: psutil.Process) -> bool:
    """Whether a process has begun to listen for SIGTERM, which kills it before."""
    caught = re.findall(r"SigCgt:\t(\w+)", Path(f"/proc/{process.pid}/status").read_text())[0]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_shipping_process_that_is_asked_to_end_ships_first(tmp_path: Path) -> None:
    """SIGTERM to it alone is no harm: it ends with status 0, having shipped, and another one starts."""
    with serving(tmp_path) as server:
        trace_id = server.ask("ask", "before", "--model", "sim")["trace_id"]
        shipping = eventually(lambda: children(server, "backstay.shipping"))[0]
        eventually(lambda: listens(shipping))
        shipping.terminate()
        eventually(lambda: "the shipping process ended with status 0" in (tmp_path / "server.log").read_text())
        assert traced(server, trace_id) == "ok"
        eventually(lambda: children(server, "backstay.shipping"))


def metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), -1.0)


def test_a_killed_postgres_is_started_again(tmp_path: Path) -> None:
    """Calls go on meanwhile, and are in the books when it is back."""
    with serving(tmp_path) as server:
        server.ask("ask", "before", "--model", "sim")
        postgres_of(server).kill()
        trace_id = server.ask("ask", "meanwhile", "--model", "sim")["trace_id"]
        assert eventually(lambda: traced(server, trace_id)) == "ok"


def test_a_killed_supervisor_takes_its_processes_along_and_the_next_takes_over(tmp_path: Path) -> None:
    """Workers end when it is gone; the next start finds Postgres as it is, with everything in it."""
    with serving(tmp_path) as server:
        trace_id = server.ask("ask", "before", "--model", "sim")["trace_id"]
        eventually(lambda: traced(server, trace_id))
        workers, postgres = children(server, "backstay.worker"), postgres_of(server)
        workers += children(server, "backstay.shipping")
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(map(alive, workers)))
        assert alive(postgres)
    with serving(tmp_path) as server:
        assert postgres_of(server) == postgres
        assert traced(server, trace_id) == "ok"
        assert server.stop() == 0
    eventually(lambda: not alive(postgres))  # it is no child of the one that stops it, so somebody else reaps it


def test_a_stream_ends_well_while_the_server_drains(tmp_path: Path) -> None:
    """SIGTERM lets open streams finish, and takes no new connections; the call is in the books."""
    (tmp_path / "backstay.toml").write_text(SLOW)
    with serving(tmp_path) as server:
        answer = ask_slowly(server)
        assert server.stop() == 0
        answer.join(5)
        assert answer.text.endswith("data: [DONE]\n\n")
    with serving(tmp_path) as server:
        assert traced(server, answer.trace_id) == "ok"


def test_a_stream_longer_than_the_drain_is_cut_and_in_the_books(tmp_path: Path) -> None:
    """After BACKSTAY_DRAIN_S its caller is told, and what was received of it is recorded before the worker ends."""
    (tmp_path / "backstay.toml").write_text(SLOW.replace("= 20", "= 1"))
    with serving(tmp_path, BACKSTAY_DRAIN_S="1") as server:
        answer = ask_slowly(server)
        assert server.stop() == 0
        answer.join(5)
        assert '"code":"draining"' in answer.text.splitlines()[-2] and "[DONE]" not in answer.text
        assert "Traceback" not in (tmp_path / "server.log").read_text()
    with serving(tmp_path) as server:
        assert traced(server, answer.trace_id) == "cancelled"


def test_a_second_signal_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """The stream breaks, the status is 1, and the next start records the call as interrupted."""
    (tmp_path / "backstay.toml").write_text(SLOW.replace("= 20", "= 1"))
    with serving(tmp_path) as server:
        answer = ask_slowly(server)
        began = time.monotonic()
        server.process.terminate()
        time.sleep(0.5)
        assert server.stop() == 1
        assert time.monotonic() - began < 10
        answer.join(5)
        assert "[DONE]" not in answer.text
    with serving(tmp_path) as server:
        assert eventually(lambda: traced(server, answer.trace_id)) == "interrupted"


class ask_slowly(threading.Thread):
    """Ask for a slow stream in the background; made when its first piece has arrived."""

    def __init__(self, server: Server):
        super().__init__(daemon=True)
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        token = (server.data_dir / "operator-token").read_text()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        url = f"{server.url}/v1/chat/completions"
        self._answer = urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers))
        self.trace_id = str(self._answer.headers["x-backstay-trace-id"])
        self.text = self._answer.readline().decode()
        self.start()

    def run(self) -> None:
        try:
            for line in self._answer:
                self.text += line.decode()
        except (OSError, ValueError):
            pass


def test_a_new_policy_is_taken_while_running(tmp_path: Path) -> None:
    """An edit is in force after SIGHUP; a bad one is refused and changes nothing."""
    policy = tmp_path / "backstay.toml"
    policy.write_text('[models.first]\ntargets = ["sim/any"]\n')
    with serving(tmp_path) as server:

        def names() -> set[str]:
            return {model["name"] for model in server.ask("models")["models"]}

        assert "first" in names()
        policy.write_text('[models.second]\ntargets = ["sim/any"]\n')
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "second" in names())
        policy.write_text('[models.third]\ntargets = "sim/any"\n')
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: "backstay.toml:2" in (tmp_path / "server.log").read_text())
        assert "second" in names()


def test_a_bad_policy_does_not_start(tmp_path: Path) -> None:
    """File, line and reason are said, nothing is started, and the exit code is that of configuration."""
    (tmp_path / "backstay.toml").write_text('[models.a]\ntargets = ["nowhere/x"]\n')
    done = run("serve", env=environment(BACKSTAY_DATA_DIR=str(tmp_path / "data")), cwd=tmp_path)
    assert done.returncode == 6
    assert "backstay.toml:2: models.a.targets: there is no provider 'nowhere'" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_signal_while_starting_ends_the_start(tmp_path: Path) -> None:
    """Ctrl-C during the first start leaves no process."""
    named = environment(BACKSTAY_DATA_DIR=str(tmp_path / "data"))
    process = subprocess.Popen(
        [BACKSTAY, "serve", "--port", "0"],
        env=named,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    eventually(lambda: (tmp_path / "data" / "pg").exists())
    process.send_signal(signal.SIGINT)
    assert process.wait(LONGEST_S) == 0
    assert [each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(each.info["cmdline"])] == []


@pytest.mark.parametrize("version", ["2", "old"])
def test_a_data_folder_of_another_version_is_refused(tmp_path: Path, version: str) -> None:
    """A sentence says what to do, and the exit code is that of configuration."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "VERSION").write_text(version)
    done = run("serve", env=environment(BACKSTAY_DATA_DIR=str(tmp_path / "data")), cwd=tmp_path)
    assert done.returncode == 6
    assert "VERSION" in done.stderr or "newer Backstay" in done.stderr


def test_early_callers_wait_instead_of_being_refused(tmp_path: Path) -> None:
    """The port listens before the first worker runs: a call that comes early is answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers: list[int] = []

    def call_early() -> None:
        eventually(lambda: _connects(port))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=LONGEST_S) as answer:
            answers.append(answer.status)

    caller = threading.Thread(target=call_early)
    caller.start()
    with serving(tmp_path, "--port", str(port)):
        caller.join(LONGEST_S)
    assert answers == [200]


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
