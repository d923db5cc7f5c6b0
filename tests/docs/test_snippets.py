"""The snippets of README and docs run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from backstay.policy import load_policy
from serving import BACKSTAY, Server

ROOT = Path(__file__).parents[2]
DEFAULT_URL = "http://127.0.0.1:8400"
_BLOCK = re.compile(r"^```(\w+) (\w+)\n(.*?)^```$", re.M | re.S)


def blocks(mark: str) -> list[pytest.ParameterSet]:
    """Find the code blocks that carry a mark, such as ``python run``."""
    return [
        pytest.param(language, code, id=f"{path.name}-{number}-{language}")
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
        for number, (language, marked, code) in enumerate(_BLOCK.findall(path.read_text()), 1)
        if marked == mark
    ]


@pytest.fixture(scope="session")
def key(server: Server) -> str:
    """A key such as the README has one made."""
    return server.ask("keys", "create", "--name", "readme")["key"]


@pytest.mark.parametrize(("language", "code"), blocks("run"))
def test_a_snippet_runs(language: str, code: str, server: Server, key: str) -> None:
    """It ends well and prints something, against a server that was just started."""
    program = {"python": [sys.executable, "-c"], "bash": ["bash", "-euc"]}[language]
    path = f"{Path(BACKSTAY).parent}:{server.environment['PATH']}"
    done = subprocess.run(
        [*program, code.replace(DEFAULT_URL, server.url)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=server.folder,
        env={**server.environment, "BACKSTAY_KEY": key, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout


@pytest.mark.parametrize(("language", "code"), blocks("check"))
def test_a_policy_snippet_is_valid(language: str, code: str, tmp_path: Path) -> None:
    """It is a whole backstay.toml that would be taken."""
    file = tmp_path / "backstay.toml"
    file.write_text(code)
    load_policy(file, {"ACME_KEY": "k", "COHERE_API_KEY": "k"})
