"""Owns what both of OpenAI's wires say alike of functions: how one is described, and whether one must be called."""

from typing import Any

from backstay.core.chat import Tool, ToolChoice
from backstay.core.errors import InvalidRequest
from backstay.providers.fields import ObjectReader


def read_function(function: ObjectReader, cache: str | None = None) -> Tool:
    """Read a function and finish its object. Raises ``InvalidRequest``."""
    found = Tool(
        name=function.required("name", str),
        description=function.optional("description", str),
        schema=function.optional("parameters", dict[str, Any]) or {},
        strict=function.optional("strict", bool),
        cache=cache,
    )
    function.finish()
    return found


def read_tool_mode(choice: str) -> ToolChoice:
    """Read a ``tool_choice`` that is a word. Raises ``InvalidRequest``."""
    modes: dict[str, ToolChoice] = {
        "auto": ToolChoice(mode="auto"),
        "none": ToolChoice(mode="none"),
        "required": ToolChoice(mode="any"),
    }
    if choice not in modes:
        raise InvalidRequest(f"tool_choice: {choice!r} is not one of {', '.join(modes)}.", param="tool_choice")
    return modes[choice]
