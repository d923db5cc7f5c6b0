"""Owns where source code is cut: at its definitions, by tree-sitter's grammars, which are an optional extra."""

import functools
import importlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from backstay.core.errors import BackstayError
from backstay.retrieval.structure import Part

if TYPE_CHECKING:
    from tree_sitter import Language, Node

_GRAMMARS: Mapping[str, tuple[str, str]] = {
    "text/x-python": ("tree_sitter_python", "language"),
    "text/javascript": ("tree_sitter_javascript", "language"),
    "text/x-typescript": ("tree_sitter_typescript", "language_typescript"),
    "text/x-tsx": ("tree_sitter_typescript", "language_tsx"),
    "text/x-go": ("tree_sitter_go", "language"),
    "text/x-rust": ("tree_sitter_rust", "language"),
    "text/x-java": ("tree_sitter_java", "language"),
    "text/x-c": ("tree_sitter_c", "language"),
    "text/x-c++": ("tree_sitter_cpp", "language"),
    "text/x-csharp": ("tree_sitter_c_sharp", "language"),
    "text/x-ruby": ("tree_sitter_ruby", "language"),
    "text/x-php": ("tree_sitter_php", "language_php"),
    "text/x-sh": ("tree_sitter_bash", "language"),
}
"""By media type: the package, and the function of it that gives the grammar."""

_DEEPEST = 40
"""Levels that are looked into; what is longer than a chunk below is cut at lines."""
_NAMED = ("definition", "declaration", "item", "class", "function", "method", "module", "interface", "struct", "spec")
_ABOVE = frozenset({"comment", "line_comment", "block_comment", "attribute_item", "decorator", "annotation"})
"""What stands above a definition and belongs to it."""
_INNER = ("definition", "declaration")
"""The fields of what is around a definition: Python's decorators, JavaScript's ``export``."""
_LONGEST_NAME = 80
_LONGEST_SOURCE = 2_000_000
"""Bytes; nobody writes more by hand in one file."""
_STEPS = 10_000
"""Of the parser, beside one for each 8 bytes: source code takes one for some 70, what is none may take many a byte."""
_READ = 65_536
"""Bytes that are handed to the parser at a time."""


class CodeNotInstalled(BackstayError):
    """Cutting source code needs tree-sitter. Install it with `pip install 'backstay[code]'`, and start again."""

    code = "code_not_installed"
    status = 501


def require_grammars() -> None:
    """Raise ``CodeNotInstalled`` where the library or one of its grammars is missing."""
    for media_type in _GRAMMARS:
        _language(media_type)


def code_parts(text: str, media_type: str, *, most: int) -> Iterator[Part]:
    """Cut source code so that no part is longer than the most, but where its syntax leaves nothing to cut at.

    Neighbours are put together as far as they fit, after the method of Y. Zhang et al., "cAST: Enhancing Code
    Retrieval-Augmented Generation with Structural Chunking via Abstract Syntax Tree" (2025). A part's heading is the
    path of names to it: the class, the method.

    Raises:
        CodeNotInstalled: The library is missing.
    """
    source = text.encode("utf-8", "replace")
    root = _parse(source, media_type)
    if root is None:
        return iter((Part(start=0, end=len(text)),))
    return _Cutter(_Places(source), most).cut(root.children, 0, len(text), ())


def _parse(source: bytes, media_type: str) -> "Node | None":
    """Return the syntax tree; ``None`` where that would take too long, as it does for much that is no such code."""
    language = _language(media_type)
    if len(source) > _LONGEST_SOURCE:
        return None
    left = len(source) // 8 + _STEPS
    # A parser of its own for each text: they are cut in several threads.
    parser = importlib.import_module("tree_sitter").Parser(language)

    def read(at: int, point: object) -> bytes:
        return source[at : at + _READ]

    def is_enough(at: int, has_error: bool) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    try:
        return parser.parse(read, progress_callback=is_enough).root_node
    except ValueError:
        return None


@functools.cache
def _language(media_type: str) -> "Language":
    package, function = _GRAMMARS[media_type]
    try:
        library, grammar = importlib.import_module("tree_sitter"), importlib.import_module(package)
    except ImportError:
        raise CodeNotInstalled from None
    return cast("Language", library.Language(getattr(grammar, function)()))


class _Places:
    """Turns places in UTF-8 into places in characters."""

    def __init__(self, source: bytes):
        self.source = source
        self._further = [at for at, byte in enumerate(source) if byte & 0xC0 == 0x80] if not source.isascii() else []

    def __call__(self, at: int) -> int:
        return at - bisect_left(self._further, at)


class _Cutter:
    def __init__(self, places: _Places, most: int):
        self._places = places
        self._most = most

    def cut(
        self, nodes: Sequence["Node"], begin: int, end: int, path: tuple[str, ...], depth: int = 0
    ) -> Iterator[Part]:  # fmt: skip
        """Cut the text of siblings, with all that is between them; ``begin`` may be before the first one's."""
        units = list(_units(nodes))
        starts = [self._places(unit[0].start_byte) for unit in units]
        since, names = begin, list[str]()
        for number, unit in enumerate(units):
            start = starts[number] if number else begin
            stop = starts[number + 1] if number + 1 < len(units) else end
            if stop - since > self._most and since < start and (not self._opens(unit, stop - start) or not depth):
                yield self._part(since, start, path, names)
                since, names = start, []
            if stop - since > self._most and (inner := _children(unit)) and depth < _DEEPEST:
                name = _name(unit, self._places.source)
                yield from self.cut(inner, since, stop, path if name in path[-1:] else (*path, name), depth + 1)
                since, names = stop, []
            else:
                names.append(_name(unit, self._places.source))
        if since < end:
            yield self._part(since, end, path, names)

    def _opens(self, unit: Sequence["Node"], length: int) -> bool:
        """Tell whether a unit is to be cut itself: what is before it, as a class's name, stays with its first part."""
        return length > self._most and bool(_children(unit))

    def _part(self, start: int, end: int, path: Sequence[str], names: Sequence[str]) -> Part:
        defined = [name for name in names if name]
        whole = [
            name for name in (*path, *(defined if len(defined) == 1 and defined[0] not in path[-1:] else ())) if name
        ]
        return Part(start=start, end=end, heading=" > ".join(whole))


def _units(nodes: Sequence["Node"]) -> Iterator[list["Node"]]:
    """Return siblings, what stands right above a definition together with it."""
    above: list[Node] = []
    for node in nodes:
        if above and node.start_point[0] - above[-1].end_point[0] > 1:
            yield above
            above = []
        above.append(node)
        if node.type not in _ABOVE:
            yield above
            above = []
    if above:
        yield above


def _children(unit: Sequence["Node"]) -> list["Node"]:
    """Return the parts of a unit."""
    return list(unit) if len(unit) > 1 else unit[0].children


def _name(unit: Sequence["Node"], source: bytes) -> str:
    """Return the name of what is defined, if something is."""
    node: Any = unit[-1]
    for field in _INNER:
        node = node.child_by_field_name(field) or node
    if not any(part in node.type for part in _NAMED):
        return ""
    named = node.child_by_field_name("name")
    if named is None and node.type == "impl_item":
        named = node.child_by_field_name("type")
    while named is None and (node := node.child_by_field_name("declarator")) is not None:
        named = node if node.child_by_field_name("declarator") is None else None
    if named is None or (len(unit) > 1 and unit[-1].type in _ABOVE):
        return ""
    return source[named.start_byte : named.end_byte].decode("utf-8", "replace")[:_LONGEST_NAME].strip()
