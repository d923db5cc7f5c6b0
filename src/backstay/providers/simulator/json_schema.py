"""Owns the making of JSON values that fit a JSON schema. Pure: the same chance gives the same value.

Understood are types, enum, const, properties, required, items, prefixItems, the bounds of numbers, texts and arrays,
common formats, ``anyOf``, ``oneOf`` (its first branch), ``allOf`` and local ``$ref``. A ``pattern`` is not.
"""

import math
import random
from collections.abc import Mapping
from typing import Any, cast

Schema = Mapping[str, Any]

_DEEPEST = 12
"""Optional properties and items end earlier; this ends schemas that demand their own form without end."""

_OPTIONAL_UNTIL = 3

_WORDS = ("alpha", "bravo", "coast", "delta", "ember", "field", "grove", "haven")

_FORMATS: Mapping[str, str] = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}


def make_instance(schema: Schema, chance: random.Random) -> Any:
    """Make a value that fits a schema: every required property, and the optional ones near the top."""
    return _Maker(schema, chance).make(schema, 0)


def break_instance(value: Any) -> Any:
    """Turn a value into one that looks alike and does not fit: an object loses a property, others become text."""
    if isinstance(value, dict) and value:
        fields = cast("dict[str, Any]", value)
        return {name: fields[name] for name in list(fields)[1:]}
    return None if isinstance(value, str) else repr(cast(object, value))


class _Maker:
    def __init__(self, root: Schema, chance: random.Random):
        self._root = root
        self._chance = chance

    def make(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        schema = self._resolve(cast("dict[str, Any]", schema))
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._chance.choice(schema["enum"])
        match _type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._text(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._chance.random() < 0.5
            case _:
                return None

    def _resolve(self, schema: Schema) -> dict[str, Any]:
        """Replace ``$ref`` by what it names, and join the branches of ``allOf`` and of ``anyOf`` or ``oneOf``."""
        merged: dict[str, Any] = {}
        waiting = [schema]
        for _ in range(64):
            if not waiting:
                break
            part = waiting.pop(0)
            _join(merged, part)
            waiting += part.get("allOf", [])
            waiting += part.get("anyOf", [])[:1] or part.get("oneOf", [])[:1]
            if "$ref" in part:
                waiting.append(self._named(part["$ref"]))
        return merged

    def _named(self, reference: str) -> Schema:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if step and isinstance(found, dict):
                found = cast("dict[str, Any]", found).get(name)
        return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        wanted = [name for name in properties if name in required or depth < _OPTIONAL_UNTIL]
        wanted += [name for name in required if name not in properties]
        extra = schema.get("additionalProperties")
        return {name: self.make(properties.get(name, extra), depth + 1) for name in wanted}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        fixed: list[Any] = schema.get("prefixItems", [])
        least, most = schema.get("minItems", 0), schema.get("maxItems", 16)
        wish = 1 if depth < _OPTIONAL_UNTIL else 0
        size = max(least, min(max(wish, len(fixed)), most))
        return [self.make(fixed[i] if i < len(fixed) else schema.get("items", {}), depth + 1) for i in range(size)]

    def _text(self, schema: Schema) -> str:
        known = _FORMATS.get(schema.get("format", ""))
        if known is not None:
            return known
        text = self._chance.choice(_WORDS)
        least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
        return (text * (math.ceil(least / len(text)) or 1))[: max(least, min(len(text), most))]

    def _integer(self, schema: Schema) -> int:
        step = schema.get("multipleOf", 1)
        low, high = _bounds(schema, step)
        least, most = math.ceil(low / step), math.floor(high / step)
        return int(self._chance.randint(least, max(least, most)) * step)

    def _number(self, schema: Schema) -> float:
        step = schema.get("multipleOf")
        if step:
            low, high = _bounds(schema, step)
            return math.ceil(low / step) * step if low > 0 or high < 0 else 0.0
        low, high = _bounds(schema, 0.5)
        middle = round(low + (high - low) * self._chance.random(), 2)
        return min(max(middle, low), high)


def _type(schema: Schema) -> str | None:
    """Find the type of value to make; where the schema names none, what its other words speak of."""
    named = schema.get("type")
    if isinstance(named, list):
        kinds = cast("list[str]", named)
        return next((kind for kind in kinds if kind != "null"), "null")
    if named is not None:
        return str(named)
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema:
        return "number"
    return "string"


def _bounds(schema: Schema, step: float) -> tuple[float, float]:
    """Find the lowest and highest value, open bounds moved inwards by ``step``."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    if high is None:
        high = low + 100
    return low, max(low, high)


def _join(merged: dict[str, Any], part: Schema) -> None:
    """Add a schema's words to others that must hold as well."""
    for word, value in part.items():
        if word == "properties":
            merged[word] = {**merged.get(word, {}), **value}
        elif word == "required":
            merged[word] = [*merged.get(word, []), *value]
        elif word not in ("$ref", "allOf", "anyOf", "oneOf"):
            merged.setdefault(word, value)
