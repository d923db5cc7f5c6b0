"""An ingest survives the death of the process that is at it, and is followed all the while."""

import json
import threading
import urllib.request
from pathlib import Path

import psutil

from serving import Server, eventually, serving

FILES = 80


def kill_job_runner(server: Server) -> None:
    """Kill it as ``kill -9`` does, and wait until it is gone."""
    victim = eventually(lambda: next(iter(job_runners(server)), None))
    assert victim is not None
    victim.kill()
    psutil.wait_procs([victim], timeout=30)


def job_runners(server: Server) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "backstay.job_runner" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_an_ingest_survives_a_kill_and_a_migration_another(tmp_path: Path) -> None:
    """Each file is kept once and told of once; the command that waits for it sees it through."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.md").write_text(f"Of matter {number}.\n\nAnd of {number + 1}.")
    with serving(tmp_path, BACKSTAY_LOCAL_MODELS="true") as server:
        server.ask("collections", "create", "notes", "--max-chars", "100", "--chunking", "fixed")
        kills = threading.Thread(target=kill_in_the_middle, args=(server,))
        kills.start()
        told = server.ask("ingest", str(folder), "--collection", "notes")
        kills.join()
        assert (told["added"], told["unreadable"]) == (FILES, [])
        shown = server.ask("collections", "show", "notes")
        assert (shown["documents"], shown["chunks"]) == (FILES, told["chunks"])
        (ingest,) = server.ask("ingests", "list", "--collection", "notes")["ingests"]
        assert (ingest["state"], ingest["added"]) == ("done", FILES)

        server.ask("collections", "migration", "start", "notes", "--max-chars", "400")
        kill_job_runner(server)
        eventually(lambda: server.ask("collections", "migration", "show", "notes")["other"]["is_complete"])
        switched = server.ask("collections", "migration", "switch", "notes")
        assert switched["live"]["chunking"]["max_chars"] == 400
        assert server.ask("collections", "show", "notes")["chunks"] == FILES


def kill_in_the_middle(server: Server) -> None:
    """Kill what takes files in, when a part of them is in."""
    eventually(lambda: documents(server) > 0)
    kill_job_runner(server)


def documents(server: Server) -> int:
    token = (server.data_dir / "operator-token").read_text().strip()
    request = urllib.request.Request(f"{server.url}/v1/collections/notes", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["documents"]
