"""An ingest survives the death of the process that is at it, and is followed all the while."""

import json
import threading
import urllib.request
from pathlib import Path

import psutil

from serving import Server, eventually, serving

FILES = 120


def job_runner(server: Server) -> psutil.Process | None:
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "backstay.job_runner" in child.cmdline():
                return child
        except psutil.Error:
            continue
    return None


def test_an_ingest_survives_two_kills_and_a_migration_another(tmp_path: Path) -> None:
    """Each file is kept once and told of once; the command that waits for it sees it through."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.md").write_text(f"Of matter {number}.\n\nAnd of {number + 1}.")
    with serving(tmp_path, BACKSTAY_LOCAL_MODELS="true") as server:
        server.ask("collections", "create", "notes", "--max-chars", "100", "--chunking", "fixed")
        kills = threading.Thread(target=kill_twice, args=(server, FILES))
        kills.start()
        told = server.ask("ingest", str(folder), "--collection", "notes")
        kills.join()
        assert (told["added"], told["unreadable"]) == (FILES, [])
        shown = server.ask("collections", "show", "notes")
        assert (shown["documents"], shown["chunks"]) == (FILES, told["chunks"])
        (ingest,) = server.ask("ingests", "list", "--collection", "notes")["ingests"]
        assert (ingest["state"], ingest["added"]) == ("done", FILES)
        assert server.ask("ingest", str(folder), "--collection", "notes")["unchanged"] == FILES

        server.ask("collections", "migration", "start", "notes", "--max-chars", "400")
        victim = eventually(lambda: job_runner(server))
        victim.kill()
        eventually(lambda: server.ask("collections", "migration", "show", "notes")["other"]["is_complete"])
        switched = server.ask("collections", "migration", "switch", "notes")
        assert switched["live"]["chunking"]["max_chars"] == 400
        assert server.ask("collections", "show", "notes")["chunks"] == FILES


def kill_twice(server: Server, files: int) -> None:
    """Kill what takes files in, when a part of them is in."""
    for share in (4, 2):
        eventually(lambda: documents(server) > files // share)  # noqa: B023 - it is called at once
        victim = eventually(lambda: job_runner(server))
        victim.kill()
        eventually(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)  # noqa: B023


def documents(server: Server) -> int:
    token = (server.data_dir / "operator-token").read_text().strip()
    request = urllib.request.Request(f"{server.url}/v1/collections/notes", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["documents"]
