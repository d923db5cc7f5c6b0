"""Owns the options of how documents are cut, and how a way of cutting is called."""

from collections.abc import Callable, Mapping
from typing import Any

import click

STRATEGIES = ("recursive", "sentence", "fixed", "tokens", "semantic", "code")
STRATEGY, MAX_CHARS, OVERLAP_CHARS, MAX_TOKENS = "recursive", 800, 0, 200
"""As the API has them where nothing is said; it is held to by a test."""

_AS_IT_IS = "  [default: as it is]"


def chunking_options(*, may_stay: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of how documents are cut.

    Args:
        may_stay: What is not named stays as it is, instead of being the default.
    """

    def option(name: str, kind: Any, default: Any, told: str, *more: str) -> Callable[..., Any]:
        ending = _AS_IT_IS if may_stay else ""
        shown = default is not None and not may_stay
        return click.option(
            name, *more, type=kind, default=None if may_stay else default, show_default=shown, help=told + ending
        )

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        options = [
            option("--chunking", click.Choice(STRATEGIES), STRATEGY, "How documents are cut.", "strategy"),
            option("--max-chars", int, MAX_CHARS, "The longest chunk, in characters."),
            option("--overlap-chars", int, OVERLAP_CHARS, "What two neighbours have in common."),
            option("--max-tokens", int, MAX_TOKENS, "The longest chunk with `tokens`."),
            option("--parent-chars", int, None, "Answer from parents of so many characters; 0: from the chunks."),
            option("--context-model", str, None, "Have this model write where each chunk stands; '': none."),
        ]
        for each in reversed(options):
            function = each(function)
        return function

    return add


def told_chunking(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was named, as the API takes it."""
    told = {name: value for name, value in options.items() if value is not None}
    return told | {name: told[name] or None for name in ("parent_chars", "context_model") if name in told}


def name_of(chunking: Mapping[str, Any]) -> str:
    """Return how a way of cutting is called where many are listed."""
    is_tokens = chunking["strategy"] == "tokens"
    name = f"{chunking['strategy']} {chunking['max_tokens' if is_tokens else 'max_chars']}"
    if chunking["overlap_chars"]:
        name += f"+{chunking['overlap_chars']}"
    if chunking["parent_chars"]:
        name += f" of {chunking['parent_chars']}"
    return f"{name} in context" if chunking["context_model"] else name
