"""Owns the reading of a caller's JSON field by field: the path in every complaint, and what nobody read."""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.providers.types import Fields

T = TypeVar("T")


def decode_fields(fields: Fields) -> dict[str, Any]:
    """Read every field of a request whole.

    Raises:
        InvalidRequest: A field is not JSON or nested too deeply.
    """
    values: dict[str, Any] = {}
    for name, raw in fields.items():
        try:
            values[name] = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidRequest(f"{name} is not valid JSON.", param=name) from None
        except RecursionError:
            raise InvalidRequest(f"{name} is nested too deeply.", param=name) from None
    return values


class ObjectReader:
    """Reads one JSON object. What was not read when ``finish`` is called goes to ``extras``, by its path."""

    __slots__ = ("_unread", "_values", "extras", "path")

    def __init__(self, values: dict[str, Any], path: str, extras: dict[str, Any]):
        self._values = values
        self._unread = dict.fromkeys(values)
        self.path = path
        self.extras = extras

    def at(self, name: str) -> str:
        """Return the path of a field, such as ``messages[2].content``."""
        return f"{self.path}.{name}" if self.path else name

    def raw(self, name: str) -> Any:
        """Return a field as it is; ``None`` where it is absent or null."""
        self._unread.pop(name, None)
        return self._values.get(name)

    def optional(self, name: str, kind: type[T]) -> T | None:
        """Read a field of one type; ``None`` where it is absent or null. Raises ``InvalidRequest``."""
        value = self.raw(name)
        return None if value is None else convert(value, kind, self.at(name))

    def required(self, name: str, kind: type[T]) -> T:
        """Read a field of one type that must be there. Raises ``InvalidRequest``."""
        value = self.optional(name, kind)
        if value is None:
            raise InvalidRequest(f"{self.at(name)} is required.", param=self.at(name))
        return value

    def object(self, name: str) -> "ObjectReader | None":
        """Read a field that is an object; ``None`` where it is absent or null. Raises ``InvalidRequest``."""
        value = self.raw(name)
        return None if value is None else read_object(value, self.at(name), self.extras)

    def objects(self, name: str) -> "Iterator[ObjectReader]":
        """Read a field that is a list of objects; none where it is absent or null. Raises ``InvalidRequest``."""
        return read_objects(self.raw(name), self.at(name), self.extras)

    def finish(self) -> None:
        """Keep what was not read, unless it says nothing (null, an empty list or object)."""
        for name in self._unread:
            value = self._values[name]
            if value is not None and value != [] and value != {}:
                self.extras[self.at(name)] = value


def convert(value: Any, kind: type[T], path: str) -> T:
    """Check a value's type. Raises ``InvalidRequest`` with the path of what is wrong."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        path += inner.rstrip("`")
        raise InvalidRequest(f"{path}: {reason[:1].lower()}{reason[1:]}.", param=path) from None


def read_object(value: Any, path: str, extras: dict[str, Any]) -> ObjectReader:
    """Begin to read a value that must be an object. Raises ``InvalidRequest``."""
    return ObjectReader(convert(value, dict[str, Any], path), path, extras)


def read_objects(value: Any, path: str, extras: dict[str, Any]) -> Iterator[ObjectReader]:
    """Begin to read a value that must be a list of objects; none for null. Raises ``InvalidRequest``."""
    items = [] if value is None else convert(value, list[Any], path)
    for index, item in enumerate(items):
        yield read_object(item, f"{path}[{index}]", extras)
