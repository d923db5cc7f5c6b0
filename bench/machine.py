"""Owns what the benchmark needs of the machine: two cores, nginx, wrk, enough open files."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

_TOOLS = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux", "setpriv": "util-linux"}
"""Commands, and the Debian packages that hold them."""
_OPEN_FILES = 8192


class BenchError(Exception):
    """The benchmark cannot be run, or what it measures did not answer as it must."""


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """``gateway`` is the one core of what is measured; ``rest`` are those of upstream, load generator and Postgres."""

    gateway: int
    rest: tuple[int, ...]


def choose_cores() -> Cores:
    """Give the first core to what is measured, and the others to everything else.

    Raises:
        BenchError: There is only one.
    """
    first, *rest = sorted(os.sched_getaffinity(0))
    if not rest:
        raise BenchError("The benchmark needs two cores: one for the gateway, one for upstream and load generator.")
    return Cores(gateway=first, rest=tuple(rest))


def require_tools() -> None:
    """Find the tools, or install those that are missing with apt-get where this user may.

    Raises:
        BenchError: A tool is missing and this user cannot install it.
    """
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BenchError(f"Install what is missing first: apt-get install --no-install-recommends {names}")
    print(f"installing {names}", file=sys.stderr)
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=sys.stderr)
    subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", *missing], check=True, stdout=sys.stderr)


def allow_open_files() -> None:
    """Raise this process's limit of open files, which its children inherit: 1,000 streams are 2,000 sockets.

    Raises:
        BenchError: The limit that only root can raise is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        raise BenchError(f"Only {hard} open files are allowed; the benchmark needs {_OPEN_FILES}: raise `ulimit -Hn`.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _OPEN_FILES), hard))


def describe() -> dict[str, str]:
    """Name processor, kernel, Python and commit, for the record."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
