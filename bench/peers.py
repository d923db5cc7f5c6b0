"""Owns the peer that is measured beside: LiteLLM's proxy, in an environment of its own."""

import subprocess
import sys
import venv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import Cores
from bench.payloads import MODEL, TARGET_MODEL
from bench.processes import free_port, running, wait_for_port
from bench.stacks import LITELLM, Stack

_VENV = Path(__file__).parent / ".venvs" / "litellm"
_KEY = "sk-bench-litellm"
_START_S = 120

_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{target}
      api_base: http://127.0.0.1:{nginx}/v1
      api_key: sk-bench-upstream
general_settings:
  master_key: {key}
litellm_settings:
  telemetry: false
"""


def install_litellm() -> Path:
    """Install LiteLLM's proxy where it is not yet, and give its command."""
    command = _VENV / "bin" / "litellm"
    if not command.exists():
        print("installing litellm[proxy] into bench/.venvs", file=sys.stderr)
        venv.create(_VENV, with_pip=True, clear=True)
        pip = [str(_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "litellm[proxy]"], check=True, stdout=sys.stderr)
    return command


@contextmanager
def litellm(nginx_port: int, cores: Cores, folder: Path) -> Generator[Stack]:
    """Run LiteLLM's proxy with one worker, its key check on and nothing else, on the measured core."""
    command, port, log, config = install_litellm(), free_port(), folder / "litellm.log", folder / "litellm.yaml"
    config.write_text(_CONFIG.format(model=MODEL, target=TARGET_MODEL, nginx=nginx_port, key=_KEY))
    arguments = [str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with running([*arguments, "--num_workers", "1"], cores=[cores.gateway], log=log, environment=environment) as pid:
        wait_for_port(port, pid, within_s=_START_S, log=log)
        yield Stack(name=LITELLM, port=port, pid=pid, worker=pid, key=_KEY, slow=True)
