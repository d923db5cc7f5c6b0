"""The commands, run as people and scripts run them, against a real server."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from backstay.cli.context import Cli
from backstay.cli.http import Client, ServerError
from serving import BACKSTAY, Server, environment, eventually, run

HEAVY = ("psycopg", "pydantic", "aiohttp", "starlette", "uvicorn", "genai_prices", "openai", "anthropic", "jinja2")


@pytest.fixture(scope="module")
def asked(server: Server) -> dict[str, str]:
    """A call that is in the books: its figures as `ask --json` gave them."""
    answer = server.ask("ask", "How late is it?", "--model", "sim", "--user", "ada", "--feature", "clock")
    eventually(lambda: server.run("traces", "show", answer["trace_id"]).returncode == 0)
    return answer


def test_help_loads_nothing_heavy() -> None:
    """`backstay --help` needs click and the standard library alone."""
    program = f"import sys, backstay.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_answer_is_streamed_with_its_figures_beside_it(server: Server) -> None:
    """The answer alone is on stdout; tokens, time, cost and trace are on stderr."""
    done = server.run("ask", "hello", "--model", "sim")
    assert done.returncode == 0
    assert done.stdout.endswith('to "hello".\n')
    assert re.fullmatch(r"\d+ → \d+ tokens   [\d.]+ s   \$0\.\d{6,9}   trace [0-9a-f]{8}\n", done.stderr)


def test_a_question_can_come_from_standard_input(server: Server) -> None:
    """`-` reads it there."""
    done = server.run("ask", "-", "--model", "sim", "--no-stream", input="from a pipe")
    assert 'to "from a pipe".' in done.stdout


def test_costs_are_told_apart_by_what_is_asked_for(server: Server, asked: dict[str, str]) -> None:
    """A row has the dimensions that were named, and exact money; rows add up to the total."""
    report = server.ask("costs", "--by", "user,feature,model")
    row = next(row for row in report["rows"] if row["user"] == "ada")
    assert {"user": "ada", "feature": "clock", "model": "sim", "calls": 1}.items() <= row.items()
    assert row["cost_usd"] == asked["cost_usd"]
    assert "ada" in server.run("costs", "--by", "user").stdout


def test_reports_equal_what_the_journal_holds(server: Server, asked: dict[str, str]) -> None:
    """By user, feature and request, and in an export, costs are sums computed straight from the journal's files."""
    documents: list[dict[str, Any]] = []
    for file in (server.data_dir / "journal").rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        for start in (found.start() for found in re.finditer(rb'\{"tenant_id":"default","spans":', data)):
            text = data[start:].decode("utf-8", "replace")
            documents.append(json.JSONDecoder().raw_decode(text)[0])
    entries = {(e["call_id"], e["attempt"]): e for document in documents for e in document["entries"]}
    assert entries, "the journal is kept for a while after it was shipped"
    mine = [entry for entry in entries.values() if entry.get("user_id") == "ada"]
    expected = Decimal(sum(entry["cost_nanousd"] for entry in mine)) / 10**9
    for by, name in (("user", "ada"), ("feature", "clock")):
        (row,) = [row for row in server.ask("costs", "--by", by)["rows"] if row[by] == name]
        assert Decimal(row["cost_usd"]) == expected
    (request,) = [row for row in server.ask("costs", "--by", "request")["requests"] if row["user"] == "ada"]
    assert (request["trace_id"], Decimal(request["cost_usd"])) == (mine[0]["trace_id"], expected)
    exported = server.run("costs", "export", "--since", "1d").stdout
    assert f",{mine[0]['call_id']}," in exported
    assert "user,calls" in server.run("costs", "--by", "user", "--csv").stdout
    assert server.ask("costs", "waste")["answered_calls"] >= 1


def test_traces_are_listed_filtered_and_shown(server: Server, asked: dict[str, str]) -> None:
    """A call is found by its user and by the beginning of its id; its tree has the attempt below it."""
    listed = server.ask("traces", "list", "--user", "ada")["traces"]
    assert [call["trace_id"] for call in listed] == [asked["trace_id"]]
    assert listed[0]["cost_usd"] == asked["cost_usd"]
    assert server.ask("traces", "--user", "nobody")["traces"] == []
    shown = server.ask("traces", "show", asked["trace_id"][:8])
    assert [child["kind"] for child in shown["spans"][0]["children"]] == ["attempt"]
    drawn = server.run("traces", "show", asked["trace_id"][:8]).stdout
    assert f"trace {asked['trace_id']}" in drawn
    assert "└ " in drawn
    assert "█" in drawn
    assert "user\nHow late is it?" in drawn


def test_targets_are_listed_taken_out_and_put_back(server: Server, asked: dict[str, str]) -> None:
    """How a target stands is printed and given as JSON; what was drained says so until it is put back."""
    target = next(model for model in server.ask("routes")["models"] if model["name"] == "sim")["targets"][0]
    assert server.ask("routes", "drain", target)["standing"] == "drained"
    (line,) = [row for row in server.run("routes").stdout.splitlines() if row.startswith(target)]
    assert "out of use" in line
    assert server.ask("routes", "undrain", target)["drained"] is None
    metrics = urllib.request.urlopen(f"{server.url}/metrics").read().decode()
    assert f'backstay_target_tries_total{{reason="first",target="{target}"}}' in metrics
    assert server.run("routes", "drain", "no/such").returncode != 0


def test_new_calls_are_followed(server: Server) -> None:
    """`traces tail --json` prints one document a call, as it ends."""
    follower = subprocess.Popen(
        [BACKSTAY, "traces", "tail", "--json"], env=server.environment, cwd=server.folder,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        time.sleep(1.5)
        trace_id = server.ask("ask", "follow me", "--model", "sim")["trace_id"]
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["trace_id"] == trace_id
    finally:
        follower.terminate()
        follower.communicate(timeout=10)


def test_a_key_is_made_used_rotated_and_revoked(server: Server) -> None:
    """Its text is on stdout alone; it is limited to its models; a revoked one ends in exit code 4."""
    done = server.run("keys", "create", "--name", "ci", "--models", "sim", "--priority", "batch", "--expires", "90d")
    key = done.stdout.strip()
    assert re.fullmatch(r"bs_\w{10}_\w{32}", key)
    assert key not in done.stderr
    with_key = {"env": {**server.environment, "BACKSTAY_TOKEN": key}, "cwd": server.folder}
    assert run("ask", "hello", "--model", "sim", "--no-stream", **with_key).returncode == 0
    assert run("keys", "list", **with_key).returncode == 4
    (listed,) = [each for each in server.ask("keys", "list")["keys"] if each["name"] == "ci"]
    assert (listed["models"], listed["priority"]) == (["sim"], "batch")
    assert "key" not in listed
    rotated = server.ask("keys", "rotate", listed["id"])
    assert rotated["key"] != key
    assert server.run("keys", "revoke", listed["id"]).returncode == 0
    refused = run("ask", "hello", "--model", "sim", **with_key)
    assert refused.returncode == 4
    assert "revoked" in refused.stderr


def test_a_tenant_of_its_own_sees_its_own(server: Server, asked: dict[str, str]) -> None:
    """Another tenant's traces are empty, and the first one's call is not found there."""
    server.ask("keys", "create", "--name", "theirs", "--tenant", "other")
    assert server.ask("traces", "list", "--tenant", "other")["traces"] == []
    assert server.run("traces", "show", asked["trace_id"], "--tenant", "other").returncode == 5


def test_people_are_invited_listed_and_disabled(server: Server) -> None:
    """The link is on stdout alone, and a disabled account is shown so."""
    done = server.run("people", "invite", "ada@example.com", "--role", "editor")
    assert done.stdout.startswith(f"{server.url}/")
    assert server.run("people", "link", "ada@example.com").stdout != done.stdout
    assert server.run("people", "disable", "ada@example.com").returncode == 0
    listed = {person["email"]: person for person in server.ask("people", "list")["people"]}
    assert listed["ada@example.com"]["disabled_at"] is not None
    missing = server.run("people", "link", "nobody@example.com")
    assert missing.returncode == 5
    assert "backstay people invite nobody@example.com" in missing.stderr


def test_login_prints_a_link(server: Server) -> None:
    """A one-time link for the first admin, each time another one."""
    first, second = (server.run("login").stdout for _ in range(2))
    assert first.startswith(f"{server.url}/")
    assert first != second


def test_models_are_listed_with_their_prices(server: Server) -> None:
    """The built-in models are there; the simulator has a price and the local model is free."""
    models = {model["name"]: model for model in server.ask("models")["models"]}
    assert {"local", "embed", "sim"} <= set(models)
    listed = server.run("models").stdout
    assert re.search(r"^sim +sim/gpt-4o-mini +\$0\.15 +\$0\.6", listed, re.M)
    assert re.search(r"^local +local/smollm2 +free +free", listed, re.M)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask", "hi", "--model", "nope"], 5, "nope"),
        (["traces", "show", "ffffffffffffffff"], 5, "no"),
        (["keys", "revoke", "key_none"], 5, "no"),
        (["costs", "--since", "yesterday"], 1, "7d"),
        (["keys", "create"], 2, "--name"),
        (["keys", "create", "--name", "x", "--expires", "soon"], 2, "90d"),
    ],
)
def test_what_is_wrong_is_said_with_a_stable_exit_code(
    server: Server, arguments: list[str], code: int, words: str
) -> None:
    """One sentence on stderr, nothing on stdout."""
    done = server.run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr


def test_an_error_is_a_document_too(server: Server) -> None:
    """With `--json`, what went wrong is on stdout as JSON, with the server's code."""
    done = server.run("ask", "hi", "--model", "nope", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["keys", "nosuch"], ["keys", "create"], ["traces", "--limit", "0"], ["costs", "export"]],
)
def test_a_wrong_command_line_is_a_document_too(arguments: list[str]) -> None:
    """With `--json`, one JSON document says so on stdout; the usage is on stderr."""
    done = run(*arguments, "--json")
    assert done.returncode == 2 and "Usage:" in done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "usage_error" and error["message"] in done.stderr


@pytest.mark.parametrize(
    ("options", "named", "words"),
    [
        (["--url", "http://[bad"], {}, "'http://[bad' is not the URL of a server"),
        (["--url", "http://127.0.0.1:99999"], {}, "is not the URL of a server"),
        (["--tenant", "a\nb"], {}, "The tenant's name (--tenant) holds a line break"),
        ([], {"BACKSTAY_TOKEN": "secret\nmore"}, "The credential (BACKSTAY_TOKEN) holds a line break"),
    ],
)
def test_what_cannot_be_sent_is_said_in_a_sentence(options: list[str], named: dict[str, str], words: str) -> None:
    """A wrong URL, token or tenant is exit code 6, not a traceback, and a credential is not repeated."""
    done = run("traces", *options, env=environment(**named))
    assert (done.returncode, done.stdout) == (6, "")
    assert words in done.stderr and "secret" not in done.stderr and "Traceback" not in done.stderr


def test_a_token_from_a_file_may_end_in_a_line_break(server: Server) -> None:
    """Files and secret stores add one."""
    token = (server.data_dir / "operator-token").read_text().strip() + "\n"
    done = run("keys", env={**server.environment, "BACKSTAY_TOKEN": token})
    assert done.returncode == 0, done.stderr


def test_names_outside_of_latin_are_sent_as_they_are(server: Server) -> None:
    """A feature in any script is found again."""
    answer = server.ask("ask", "hi", "--model", "sim", "--feature", "問い合わせ")
    eventually(lambda: server.run("traces", "show", answer["trace_id"]).returncode == 0)
    (call,) = server.ask("traces", "--feature", "問い合わせ")["traces"]
    assert call["trace_id"] == answer["trace_id"]


@pytest.mark.parametrize("group", ["keys", "people", "budgets", "traces", "routes"])
def test_a_group_without_a_subcommand_lists(server: Server, group: str) -> None:
    """`backstay keys` is `backstay keys list`; shared options count on either side of the subcommand."""
    listed = server.ask(group, "list")
    assert server.ask(group).keys() == listed.keys()
    assert json.loads(server.run(group, "--json", "list").stdout).keys() == listed.keys()


def test_the_operators_token_stays_on_this_machine(server: Server) -> None:
    """A URL that is not loopback is not sent the credential of the data folder."""

    cli = Cli(json=False, url="http://192.0.2.1", data_dir=server.data_dir, tenant="default")
    here = Cli(json=False, url="http://127.0.0.1:1", data_dir=server.data_dir, tenant="default")
    assert "authorization" not in cli.client().headers
    assert "authorization" in here.client().headers


def test_no_server_is_exit_code_3(tmp_path: Path) -> None:
    """The sentence names the command that starts one."""
    done = run("models", env=environment(BACKSTAY_URL="http://127.0.0.1:1", BACKSTAY_DATA_DIR=str(tmp_path)))
    assert done.returncode == 3
    assert "backstay serve" in done.stderr


def test_check_tells_right_from_wrong(tmp_path: Path) -> None:
    """A good policy is exit code 0; a bad one 6, with file, line and reason; a wrong setting too."""
    policy = tmp_path / "backstay.toml"
    policy.write_text('[models.a]\ntargets = ["sim/x"]\n')
    assert run("check", cwd=tmp_path).returncode == 0
    policy.write_text('[models.a]\ntargets = ["sim/x"]\nfallback = 3\n')
    done = run("check", cwd=tmp_path)
    assert done.returncode == 6
    assert "backstay.toml:3: models.a.fallback" in done.stderr
    told = json.loads(run("check", "--json", cwd=tmp_path).stdout)
    assert (told["ok"], told["line"]) == (False, 3)
    done = run("check", cwd=tmp_path, env=environment(BACKSTAY_PORT="none"))
    assert done.returncode == 6
    assert "BACKSTAY_PORT" in done.stderr


def test_the_policys_schema_is_json_schema() -> None:
    """Editors can use what `check --schema` prints."""
    assert "models" in json.loads(run("check", "--schema").stdout)["properties"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str) -> None:
    """Each shell gets the script that it can load."""
    assert "_BACKSTAY_COMPLETE" in run("completion", shell).stdout


def test_the_version_is_told() -> None:
    """Plain, and as a document."""
    assert json.loads(run("version", "--json").stdout)["version"] == run("version").stdout.strip()


def test_the_simulator_fails_as_its_script_says(tmp_path: Path) -> None:
    """It tells its address as a document, and answers with the status of the script."""
    script = tmp_path / "script.toml"
    script.write_text('[[faults]]\nkind = "status"\nstatus = 529\n')
    process = subprocess.Popen(
        [BACKSTAY, "simulate", "--port", "0", "--script", str(script), "--json"], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with pytest.raises(ServerError) as caught:
            Client(url).post(
                "/v1/messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
            )
        assert caught.value.status == 529
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_wrong_script_is_a_wrong_configuration(tmp_path: Path) -> None:
    """The field is named, and the exit code is that of configuration."""
    script = tmp_path / "script.toml"
    script.write_text("latency = 3\n")
    done = run("simulate", "--port", "0", "--script", str(script))
    assert done.returncode == 6
    assert "latency" in done.stderr


def test_savings_and_what_if_are_told(server: Server) -> None:
    """An equal request is found as a duplicate; traffic is priced elsewhere, for people and for programs."""
    asked = [server.ask("ask", "Twice, please.", "--model", "sim", "--feature", "twice") for _ in range(2)]
    eventually(lambda: all(server.run("traces", "show", one["trace_id"]).returncode == 0 for one in asked))
    found = server.ask("costs", "savings", "--since", "1d")["savings"]
    (twice,) = [one for one in found if one["feature"] == "twice"]
    assert (twice["kind"], twice["calls"], twice["amount_usd"]) == ("duplicates", 1, asked[1]["cost_usd"])
    assert "duplicates: Equal requests" in server.run("costs", "savings", "--since", "1d").stdout
    answer = server.ask("costs", "what-if", "--model", "sim", "--since", "1d")
    assert answer["scenarios"][0]["cost_usd"] == answer["cost_usd"], "at its own prices it costs what it did"
    told = server.run("costs", "what-if", "--model", "sim", "--since", "1d").stdout
    assert "did cost" in told and "tokenizer" in told


def test_a_broken_export_leaves_no_file(tmp_path: Path) -> None:
    """What ends before it is whole is not there, under no name, and a file from before stays as it was."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\nx-backstay-unknown-cost-calls: 0\r\n"
                    b"transfer-encoding: chunked\r\n\r\n5\r\nat,tr\r\n"
                )

        thread = threading.Thread(target=answer)
        thread.start()
        (tmp_path / "costs.csv").write_text("from before")
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        env = environment(BACKSTAY_URL=url, BACKSTAY_TOKEN="none", BACKSTAY_DATA_DIR=str(tmp_path / "data"))
        done = run("costs", "export", "-o", "costs.csv", env=env, cwd=tmp_path)
        thread.join(10)
    assert done.returncode != 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["costs.csv"]
    assert (tmp_path / "costs.csv").read_text() == "from before"


def test_an_invoice_is_a_page(server: Server, asked: dict[str, str]) -> None:
    """Every element is closed in its turn, and the page has what the invoice says."""
    month = datetime.now(UTC).strftime("%Y-%m")
    page = server.run("costs", "invoice", "--month", month, "--markup", "15%", "--html").stdout
    reader = _Nesting()
    reader.feed(page)
    assert (reader.open, reader.wrong) == ([], [])
    assert page.startswith("<!doctype html>")
    assert server.ask("costs", "invoice", "--month", month, "--markup", "15")["amount_usd"] in page


class _Nesting(HTMLParser):
    """Follows which elements are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.wrong = list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)
