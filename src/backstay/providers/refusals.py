"""Owns the refusal of what a dialect cannot say: by the caller's own name for it, never dropped silently."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backstay.core.errors import Untranslatable


def refuse(param: str, why: str) -> Untranslatable:
    """Make the error for a field that the target's dialect cannot carry."""
    return Untranslatable(f"{param}: {why} Leave it out, or choose a model that speaks your dialect.", param=param)


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
