"""The reference documents all that there is."""

import importlib
import json
import pkgutil
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import backstay
from backstay.cli import main
from backstay.cli.exits import MEANING
from backstay.core.errors import BackstayError
from backstay.core.settings import Settings
from backstay.policy import policy_schema
from serving import Server

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
COMMON_OPTIONS = {"--json", "--url", "--data-dir", "--tenant", "--help"}


def test_every_setting_is_documented_in_its_own_words() -> None:
    """settings.md has a line for each variable, with the description of the code, and no other."""
    text = (REFERENCE / "settings.md").read_text()
    missing = [
        name
        for name, setting in Settings.model_fields.items()
        if not re.search(
            rf"^\| `BACKSTAY_{name.upper()}` \| .* \| {re.escape(setting.description or '-')} \|$", text, re.M
        )
    ]
    assert missing == []


def test_every_error_code_is_documented() -> None:
    """errors.md has a line for each code of each error class, wherever it is defined."""
    text = (REFERENCE / "errors.md").read_text()
    assert {error.code for error in _errors() if f"| `{error.code}` |" not in text} == set()


def test_every_exit_code_is_documented_in_its_own_words() -> None:
    """errors.md has a line for each exit code."""
    text = (REFERENCE / "errors.md").read_text()
    assert [code for code, meaning in MEANING.items() if f"| {code} | {meaning} |" not in text] == []


def test_every_command_and_option_is_documented() -> None:
    """cli.md has a section for each command, and in it each of its options."""
    sections = _sections((REFERENCE / "cli.md").read_text())
    missing: list[str] = []
    for name, command in _commands("backstay", main):
        section = sections.get(name)
        if section is None:
            missing.append(name)
        elif not isinstance(command, click.Group):
            missing += [f"{name} {option}" for option in _options(command) if f"`{option}`" not in section]
    assert missing == []


def test_no_command_is_documented_that_is_not_there() -> None:
    """cli.md has no section about a command that the code does not know."""
    known = {name for name, _ in _commands("backstay", main)}
    assert set(_sections((REFERENCE / "cli.md").read_text())) - known == set()


def test_every_field_of_the_policy_is_documented() -> None:
    """policy.md names each field of each table of backstay.toml."""
    text = (REFERENCE / "policy.md").read_text()
    schema = policy_schema()
    tables = [schema, *schema["$defs"].values()]
    fields = {field for table in tables for field in table.get("properties", {})}
    assert {field for field in fields if f"`{field}`" not in text and f"[{field}." not in text} == set()


def test_every_route_is_documented(server: Server) -> None:
    """api.md has a line for each route of the running server's own document."""

    with urllib.request.urlopen(f"{server.url}/openapi.json") as answer:
        document = json.load(answer)
    text = re.sub(r"\{\w+\}", "{id}", (REFERENCE / "api.md").read_text())
    routes = {
        f"{method.upper()} {re.sub(r'{.*?}', '{id}', path)}"
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert {route for route in routes if f"| `{route}` |" not in text} == set()


def test_every_metric_is_documented() -> None:
    """api.md names each metric that any part of the product shows."""
    shown = re.compile(r'(?:add_(?:gauge|counter|family)|Family|_counter|\.family)\(\s*"(\w+)"')
    names = {name for path in ROOT.glob("src/backstay/**/*.py") for name in shown.findall(path.read_text())}
    text = (REFERENCE / "api.md").read_text()
    assert {"backstay_workers", "backstay_calls_total", "backstay_target_breakers", "backstay_sheds_total"} <= names
    assert {name for name in names if f"`{name}`" not in text} == set()


@pytest.mark.parametrize(
    "path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(path: Path) -> None:
    """A link to a file of this repository points at one that exists."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def _errors() -> set[type[BackstayError]]:
    for module in pkgutil.walk_packages(backstay.__path__, "backstay."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(error: type[BackstayError]) -> Iterator[type[BackstayError]]:
        yield error
        for child in error.__subclasses__():
            yield from below(child)

    return set(below(BackstayError))


def _commands(path: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(f"{path} {name}", command)


def _options(command: click.Command) -> set[str]:
    named = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    return {option for option in named if option.startswith("--")} - COMMON_OPTIONS


def _sections(text: str) -> dict[str, str]:
    parts = re.split(r"^##+ (backstay .*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
