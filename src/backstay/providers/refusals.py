"""Owns the refusal of what a dialect cannot say: by the caller's own name for it, never dropped silently."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backstay.core.chat import ChatRequest
from backstay.core.errors import Untranslatable
from backstay.providers.caller_paths import field_path

_USUAL: Mapping[str, Any] = {"modalities": ["text"], "store": False}
"""Extras that ask for what is the case anyway."""


def refuse(param: str, why: str) -> Untranslatable:
    """Make the error for a field that the target's dialect cannot carry."""
    return Untranslatable(f"{param}: {why} Leave it out, or choose a model that speaks your dialect.", param=param)


def refuse_fields(fields: Mapping[str, Any], target: str) -> None:
    """Refuse the first field that has a value. Raises ``Untranslatable``."""
    for name, value in fields.items():
        if value:
            raise refuse(name, f"{target} has no form for it.")


def refuse_openais_own(request: ChatRequest, target: str) -> None:
    """Refuse what of a chat OpenAI's dialect alone can ask for. Raises ``Untranslatable``."""
    fields = {
        "n": request.candidates if request.candidates != 1 else None,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "logit_bias": request.logit_bias,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    refuse_fields(fields, target)
    if request.seed is not None:
        raise refuse("seed", f"{target} has no form for it.")
    if request.temperature is not None and request.temperature > 1:
        raise refuse("temperature", f"{target} takes 0 to 1.")
    if request.output_format is not None and request.output_format.schema is None:
        name = field_path(request, "response_format")
        raise refuse(name, f"{target} gives JSON only with a schema (`json_schema`).")


def own_extras(
    extras: Mapping[str, Any], *, own: Iterable[str], harmless: Mapping[str, str], target: str
) -> dict[str, Any]:
    """Return those extras that the target's dialect knows by the same name.

    Those that ask for what is the case anyway are left out. ``harmless`` names what may be left out because it cannot
    change the answer, each with its reason; of a path such as ``messages[0].content[1].cache_control`` the last name
    counts.

    Raises:
        Untranslatable: One is neither.
    """
    kept: dict[str, Any] = {}
    for path, value in extras.items():
        if path in own:
            kept[path] = value
        elif path in _USUAL and _USUAL[path] == value:
            continue
        elif re.sub(r"\[\d+\]$", "", path).rpartition(".")[2] not in harmless:
            raise refuse(path, f"{target} has no form for it.")
    return kept
