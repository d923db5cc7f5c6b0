"""Real processes over a real Postgres: never more than the limit in any window, whichever of them dies."""

import subprocess
import sys
import time
from pathlib import Path

from serving import eventually

SCRIPT = Path(__file__).with_name("worker_process.py")
FACTOR = 15
WINDOW_NS = 60_000_000_000 // FACTOR
LIMIT = 600
SECONDS = 13


def start(url: str, file: Path) -> subprocess.Popen[bytes]:
    arguments = [url, str(file), str(LIMIT), str(FACTOR), "50", str(SECONDS)]
    return subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stderr=subprocess.PIPE)


def test_four_workers_admit_the_limit_and_not_one_more(database_url: str, tmp_path: Path) -> None:
    """200 callers, 4 processes, one of them killed: no window has more than the limit, and nearly all is used.

    How much of it is used is measured without other processes in the way by ``test_nearly_all_of_a_limit_is_used``.
    """
    files = [tmp_path / f"worker-{number}" / "admitted" for number in range(4)]
    for file in files:
        file.parent.mkdir()
    processes = [start(database_url, file) for file in files]
    eventually(lambda: files[0].exists() and files[0].stat().st_size)
    time.sleep(2)
    processes[0].kill()
    processes[0].communicate()
    for process in processes[1:]:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
    moments = sorted(int(line) for file in files for line in file.read_text().splitlines())
    # From an admission to the one a whole limit later: in a shorter window there would be one too many.
    spans = [later - earlier for earlier, later in zip(moments, moments[LIMIT:], strict=False)]
    assert min(spans) >= WINDOW_NS
    assert len(moments) >= 3 * LIMIT
