"""Owns the refusal of what a dialect cannot say: by the caller's own name for it, never dropped silently."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backstay.core.errors import Untranslatable
from backstay.providers.types import Fields


def refuse(param: str, why: str) -> Untranslatable:
    """Make the error for a field that the target's dialect cannot carry."""
    return Untranslatable(f"{param}: {why} Leave it out, or choose a model that speaks your dialect.", param=param)


_WORDS: Mapping[str, str] = {
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "reasoning_effort": "output_config.effort",
    "response_format": "output_config.format",
}
"""Anthropic's names of fields that OpenAI's dialect has as well."""


def in_words_of(caller: str, error: Untranslatable, *, spoken: str, fields: Fields) -> Untranslatable:
    """Return a refusal by the caller's name of the field.

    A dialect beyond OpenAI's and Anthropic's (``spoken``), which refuse each other's words by themselves, names fields
    as OpenAI's callers do; for Anthropic's, whose ``system`` is not among the messages, they are renamed here.
    """
    param = error.param or ""
    if caller != "anthropic" or spoken == "openai":
        return error
    if bytes(fields.get("system", b"null")) not in (b"null", b'""', b"[]"):
        param = re.sub(r"^messages\[(\d+)\]", _without_system, param).replace("system.content", "system", 1)
    param = _WORDS.get(param, param)
    return Untranslatable(error.message.replace(error.param or "", param, 1), param=param)


def _without_system(index: re.Match[str]) -> str:
    return "system" if index[1] == "0" else f"messages[{int(index[1]) - 1}]"


def refuse_fields(fields: Mapping[str, Any], target: str) -> None:
    """Refuse the first field that has a value. Raises ``Untranslatable``."""
    for name, value in fields.items():
        if value:
            raise refuse(name, f"{target} has no form for it.")


def own_extras(
    extras: Mapping[str, Any], *, own: Iterable[str], harmless: Mapping[str, str], target: str
) -> dict[str, Any]:
    """Return those extras that the target's dialect knows by the same name.

    ``harmless`` names what may be left out because it cannot change the answer, each with its reason; of a path such
    as ``messages[0].content[1].cache_control`` the last name counts.

    Raises:
        Untranslatable: One is neither.
    """
    kept: dict[str, Any] = {}
    for path, value in extras.items():
        if path in own:
            kept[path] = value
        elif re.sub(r"\[\d+\]$", "", path).rpartition(".")[2] not in harmless:
            raise refuse(path, f"{target} has no form for it.")
    return kept
