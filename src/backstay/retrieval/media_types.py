"""Owns the media types of texts by the ends of their files' names."""

from collections.abc import Mapping
from pathlib import PurePath

MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
CODE: Mapping[str, str] = {
    ".py": "text/x-python", ".pyi": "text/x-python",
    ".js": "text/javascript", ".mjs": "text/javascript", ".cjs": "text/javascript", ".jsx": "text/javascript",
    ".ts": "text/x-typescript", ".mts": "text/x-typescript", ".tsx": "text/x-tsx",
    ".go": "text/x-go", ".rs": "text/x-rust", ".java": "text/x-java",
    ".c": "text/x-c", ".h": "text/x-c",
    ".cc": "text/x-c++", ".cpp": "text/x-c++", ".cxx": "text/x-c++", ".hh": "text/x-c++", ".hpp": "text/x-c++",
    ".cs": "text/x-csharp", ".rb": "text/x-ruby", ".php": "text/x-php", ".sh": "text/x-sh", ".bash": "text/x-sh",
}  # fmt: skip
"""Source code that can be cut at its definitions."""

_CODE = frozenset(CODE.values())


def media_type_of(name: str) -> str:
    """Return the media type of a text by its file's name; ``text/plain`` where that says nothing."""
    suffix = PurePath(name).suffix.lower()
    return "text/markdown" if suffix in MARKDOWN else CODE.get(suffix, "text/plain")


def is_code(media_type: str) -> bool:
    """Tell whether it is source code that can be cut at its definitions."""
    return media_type in _CODE
