"""Owns the caller's own names for what a target cannot say, where callers of several dialects reach it.

A neutral message does not know where it stood: Anthropic's callers have the system prompt outside of ``messages``, as
Bedrock's have.
"""

from collections.abc import Mapping

from backstay.core.chat import ChatRequest

_NAMES: Mapping[str, Mapping[str, str]] = {
    "anthropic": {
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "reasoning_effort": "output_config.effort",
        "response_format": "output_config.format",
        "stop": "stop_sequences",
    },
}
"""By dialect: its name for what OpenAI calls so, where the two differ."""

_SYSTEM_APART = ("anthropic", "bedrock")
"""Dialects with the system prompt in a field of its own."""


def field_path(request: ChatRequest, name: str) -> str:
    """Return the caller's name for a field that OpenAI calls ``name``."""
    return _NAMES.get(request.caller_dialect, {}).get(name, name)


def message_path(request: ChatRequest, index: int) -> str:
    """Return where the caller has the message at ``index``."""
    if request.caller_dialect in _SYSTEM_APART and request.messages[0].role == "system":
        return "system" if index == 0 else f"messages[{index - 1}]"
    return f"messages[{index}]"


def tool_result_path(request: ChatRequest, message: str, index: int) -> str:
    """Return where the caller has the tool result that is part ``index`` of a message: OpenAI's is the message."""
    return message if request.caller_dialect == "openai" else f"{message}.content[{index}]"


def tool_use_id_path(request: ChatRequest, result: str) -> str:
    """Return where the caller has the id of the tool call that a result at ``result`` belongs to."""
    return f"{result}.tool_call_id" if request.caller_dialect == "openai" else f"{result}.tool_use_id"
