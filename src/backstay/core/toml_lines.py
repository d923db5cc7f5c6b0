"""Owns what is said of a wrong TOML file: the first problem, as a sentence with its line. Pure.

A TOML reader gives no positions, so that the names in the text are followed here.
"""

import re
import tomllib

from pydantic import ValidationError

from backstay.core.errors import ConfigError

_HEADER = re.compile(r"^\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")
_STEP = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")

Path = tuple[str, ...]


def not_toml(error: tomllib.TOMLDecodeError, file: str) -> ConfigError:
    """Say where a text stops being TOML."""
    line = re.search(r"at line (\d+)", str(error))
    return ConfigError(f"not TOML: {error}.", file=file, line=int(line[1]) if line else None)


def explain(error: ValidationError, source: str, file: str) -> ConfigError:
    """Say the first thing that is wrong, where it stands, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    # A misspelt name makes two problems, itself and the name that is missing for it: the first is the one to mend.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    path = tuple(str(step) for step in first["loc"])
    reason = (
        "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    )
    message = f"{'.'.join(path)}: {reason}." if path else f"{reason}."
    if len(problems) > 1:
        message += f" ({len(problems) - 1} more after it.)"
    return ConfigError(message, file=file, line=line_of(source, path))


def line_of(source: str, path: Path) -> int | None:
    """Find the line that a path of names and places in lists is written on, or what is nearest above it.

    ``None`` where nothing of it is in the text.
    """
    known = _positions(source)
    return next((known[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in known), None)


def _positions(source: str) -> dict[Path, int]:
    """Number the lines on which tables and keys begin."""
    found: dict[Path, int] = {}
    lengths: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(source.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _resolve(_steps(header[2]), lengths, is_new=header[1] == "[[")
            _note(found, table, number)
        elif key := _KEY.match(line):
            _note(found, table + _steps(key[1]), number)
    return found


def _steps(names: str) -> Path:
    return tuple(next(filter(None, step.groups()), "") for step in _STEP.finditer(names))


def _resolve(names: Path, lengths: dict[Path, int], *, is_new: bool) -> Path:
    """Put into a header's path the places of the lists of tables that it goes through."""
    path: Path = ()
    for depth, name in enumerate(names, 1):
        path += (name,)
        if is_new and depth == len(names):
            lengths[path] = lengths.get(path, 0) + 1
        if path in lengths:
            path += (str(lengths[path] - 1),)
    return path


def _note(found: dict[Path, int], path: Path, number: int) -> None:
    for depth in range(1, len(path) + 1):
        found.setdefault(path[:depth], number)
