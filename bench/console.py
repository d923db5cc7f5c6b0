"""Owns ``python -m bench console``: how soon pages and reports answer over millions of calls, beside their target."""

import asyncio
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from pathlib import Path

from bench.books import fill, time_shipping
from bench.command import backstay
from bench.machine import BenchError
from bench.measured import percentile
from bench.processes import prioritise

TARGET_MS = 50.0
CALLS = 2_500_000
"""How many the books are filled with, unless others are asked for."""
_TIMES = 20
PAGES = (
    *(f"/?range={name}" for name in ("1h", "24h", "7d", "30d")),
    *(f"/costs?range={name}" for name in ("1h", "24h", "7d", "30d")),
    "/costs?by=user",
    "/costs?by=feature&then=model",
    "/costs?by=tag&range=30d",
    "/traces",
    "/traces?range=30d&status=error",
    "/models",
)
REPORTS = (
    "/v1/costs?by=model&since=7d",
    "/v1/costs?by=model&since=90m",
    "/v1/costs?by=feature,model&since=30d",
    "/v1/costs?by=tag,day&since=30d",
    "/v1/costs?by=user,feature,model&since=24h",
    "/v1/costs?by=user,feature,model&since=7d",
    "/v1/costs?by=user&since=30d",
)


def main(*, calls: int, kept: Path | None) -> int:
    """Fill the books, measure, and print a table: 0 if every page meets its target, 1 if one does not.

    Args:
        calls: How many the books are filled with.
        kept: A data folder to keep and to use again: filling takes about ten minutes. ``None``: a temporary one.

    Raises:
        BenchError: It could not be measured.
    """
    prioritise(os.getpid())
    with data_folder(kept) as data_dir:
        asyncio.run(fill(data_dir, calls))
        with serving(data_dir) as (url, _):
            times = {
                **time_paths(url, PAGES, sign_in(url, data_dir)),
                **time_paths(url, REPORTS, bearer(url, data_dir)),
            }
        costs = asyncio.run(time_shipping(data_dir))
    print(f"{'first byte, ms':<44}{'p50':>8}{'p95':>8}{'target':>8}")
    for path, each_ms in times.items():
        verdict = "" if statistics.median(each_ms) <= TARGET_MS else "  too slow"
        print(
            f"  {path:<42}{statistics.median(each_ms):>8.1f}{percentile(each_ms, 95):>8.1f}{TARGET_MS:>8.0f}{verdict}"
        )
    print(f"\n{'shipping, µs a call':<44}")
    for name, each_us in costs.items():
        print(f"  {name:<42}{each_us:>8.1f}")
    return 0 if all(statistics.median(each_ms) <= TARGET_MS for each_ms in times.values()) else 1


@contextmanager
def data_folder(kept: Path | None) -> Generator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as folder:
        yield Path(folder)


@contextmanager
def serving(data_dir: Path, *, local_models: bool = False) -> Generator[tuple[str, int]]:
    """Serve a data folder with one worker: give its address, and the id of the supervisor's process."""
    command = [*backstay(), "serve", "--port", "0", "--workers", "1", "--json", "--data-dir", str(data_dir)]
    environment = {**os.environ, "BACKSTAY_LOCAL_MODELS": str(local_models).lower()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise BenchError("Backstay did not start.")
            prioritise(server.pid)
            yield str(json.loads(line)["url"]), server.pid
        finally:
            server.terminate()


def sign_in(url: str, data_dir: Path) -> Mapping[str, str]:
    """Sign the first admin in, as a browser does."""
    link = _ask("login", url, data_dir)["url"]
    jar = CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    page = opener.open(link).read().decode()
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert token is not None, "the page of the link has no form"
    one_time = urllib.parse.parse_qs(urllib.parse.urlsplit(link).query)["token"][0]
    form = urllib.parse.urlencode({"csrf": token[1], "token": one_time}).encode()
    headers = {"origin": url, "sec-fetch-site": "same-origin"}
    opener.open(urllib.request.Request(f"{url}/login", data=form, headers=headers)).read()
    return {"cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)}


def bearer(url: str, data_dir: Path) -> Mapping[str, str]:
    """Make a key that may read everything of the tenant ``default``."""
    key = _ask("keys", url, data_dir, "create", "--name", "bench", "--rights", "call,read,admin")["key"]
    return {"authorization": f"Bearer {key}"}


def _ask(name: str, url: str, data_dir: Path, *arguments: str) -> dict[str, str]:
    command = [*backstay(), name, *arguments, "--json", "--url", url, "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"backstay {name} failed: {done.stderr}")
    return json.loads(done.stdout)


def time_paths(
    url: str, paths: Sequence[str], headers: Mapping[str, str], *, often: int = _TIMES
) -> dict[str, list[float]]:
    """Get each path once to warm up and then some times, and time the beginning of the answer, in milliseconds."""
    connection = HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    times: dict[str, list[float]] = {}
    for path in paths:
        for number in range(often + 1):
            began = time.perf_counter()
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            took_ms = (time.perf_counter() - began) * 1e3
            response.read()
            if response.status != 200:
                raise BenchError(f"{path} answered {response.status}.")
            if number:
                times.setdefault(path, []).append(took_ms)
    return times
