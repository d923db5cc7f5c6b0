"""Owns the checks of the tree's shape: imports, sizes, first lines, and ARCHITECTURE.md's truth."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "backstay"
LONGEST_FUNCTION = 50
LONGEST_MODULE = 500
LARGEST_FACE = 10
LARGER_FACES = {
    "api": 13,  # each kind of route by itself, and the wires, which the client answers without a server
    "providers": 26,  # two rooms' worth: dialects are pure, providers do I/O, and the gateway needs both
    "jobs": 12,  # batches, files and single calls for workers; their runner and deliverer for its process
    "gateway": 24,  # a route's nouns, the gate before a call, the board of routes, what was kept
}
REASON = "# long:"

MODULES = sorted(SOURCE.rglob("*.py"))


def test_imports_keep_the_contracts() -> None:
    """No import breaks the contracts of pyproject.toml."""
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_modules_are_short() -> None:
    """No module is longer than 500 lines."""
    lengths = {_name(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_modules_say_what_they_are_for() -> None:
    """Every module begins with a docstring."""
    assert [_name(module) for module in MODULES if not ast.get_docstring(ast.parse(module.read_text()))] == []


def test_functions_are_short() -> None:
    """No function is longer than 50 lines, unless a comment `# long: …` on its first line says why."""
    assert list(_long_functions()) == []


def test_the_map_names_every_room() -> None:
    """ARCHITECTURE.md says of every room and every module beside them what it owns."""
    described = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {path.name + ("/" if path.is_dir() else "") for path in SOURCE.iterdir() if _is_room(path)}
    assert {room for room in rooms if f"`{room}`" not in described} == set()


def test_the_map_names_no_room_that_is_not_there() -> None:
    """Each line of ARCHITECTURE.md's table of rooms is about something that exists."""
    lines = (ROOT / "ARCHITECTURE.md").read_text().splitlines()
    named = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert [name for name in named if not (SOURCE / name).exists()] == []


def test_a_room_offers_few_names() -> None:
    """The face of a room has at most ten names, unless it is said here why it has more."""
    faces = {path.parent.name: len(_exported(path)) for path in SOURCE.glob("*/__init__.py")}
    assert {room: size for room, size in faces.items() if size > LARGER_FACES.get(room, LARGEST_FACE)} == {}


def _is_room(path: Path) -> bool:
    return path.name != "__init__.py" and (path.suffix == ".py" or (path / "__init__.py").exists())


def _name(module: Path) -> str:
    return str(module.relative_to(SOURCE))


def _exported(path: Path) -> list[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def _long_functions() -> Iterator[str]:
    for module in MODULES:
        lines = module.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            documented = ast.get_docstring(node, clean=False)
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - len((documented or "").splitlines())
            if length > LONGEST_FUNCTION and REASON not in lines[node.lineno - 1]:
                yield f"{_name(module)}:{node.lineno} {node.name}: {length} lines"
