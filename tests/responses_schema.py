"""Owns the check of documents by OpenAI's own document of the responses API."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema


@cache
def _responses_validator(name: str) -> Any:
    schemas = json.loads((Path(__file__).parent / "providers" / "responses_schemas.json").read_text())
    return jsonschema.Draft202012Validator({**schemas, "$ref": f"#/$defs/{name}"})


def check_responses_schema(name: str, value: Any) -> None:
    """Raise ``jsonschema.ValidationError`` if a value is not as OpenAI's document of the responses API says."""
    _responses_validator(name).validate(value)


def responses_event_schema(kind: str) -> str:
    """Return the name that the document has for an event such as ``response.output_text.delta``."""
    words = kind.removeprefix("response.").replace("output_text", "text").replace(".", "_").split("_")
    return f"Response{''.join(word.capitalize() for word in words)}Event"
