"""Owns the forms that texts from outside must have, and what a value that breaks the rules of its type is told."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, inspect

from backstay.core.errors import InvalidRequest

T = TypeVar("T")

# Patterns stand in the API's document too, so they are written in what Python and ECMAScript share. The look-ahead is
# for Python, whose `$` lets a newline follow.
_WHOLE = r"^(?![\s\S]*\n)"
_LINE = _WHOLE + r"[^\s\u0000-\u001f\u007f]([^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f])?$"
_ROUTE = _WHOLE + r"/v1(/[a-z_]+)+$"
_EMAIL = _WHOLE + r"[!-?A-~]{1,64}@[0-9A-Za-z.-]{1,189}$"
_ID = _WHOLE + r"[0-9A-Za-z_-]{1,64}$"

_FORMS = {
    _LINE: "one line of visible text, without blanks at its ends",
    _ROUTE: "the path of a wire, such as /v1/chat/completions",
    _EMAIL: "a mail address",
    _ID: "an id: letters, digits, _ and -",
}

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]
Label = Annotated[str, Meta(min_length=1, max_length=128, pattern=_LINE)]
RoutePath = Annotated[str, Meta(max_length=100, pattern=_ROUTE)]
Email = Annotated[str, Meta(max_length=254, pattern=_EMAIL)]
Id = Annotated[str, Meta(max_length=64, pattern=_ID)]

_AT = re.compile(r" - at `(?:(?:key|value) in )?\$\.?(?P<path>[^`]*)`$")
_FIELD = re.compile(r"field `(?P<path>[^`]+)`")
_STEP = re.compile(r"\w+|\.\.\.")
_REGEX = re.compile(r"`str` matching regex '.*'", re.DOTALL)


def convert(value: Any, to: type[T], *, strict: bool = True) -> T:
    """Read plain values into a type and hold its rules. Without ``strict`` texts are read as numbers where due.

    Raises:
        InvalidRequest: With the field's path in ``param``.
    """
    try:
        return msgspec.convert(value, to, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid(error, to) from None


def check(value: T) -> T:
    """Hold a struct that was made in this process to the rules of its type."""
    return convert(msgspec.to_builtins(value), type(value))


def invalid(error: msgspec.ValidationError, to: Any) -> InvalidRequest:
    """Turn a complaint of msgspec about a value of the type ``to`` into the error that the caller gets."""
    text = str(error)
    place = _AT.search(text)
    field = place or _FIELD.search(text)
    path = (field["path"] or None) if field else None
    sentence = _AT.sub("", text)
    form = next((words for pattern, words in _FORMS.items() if repr(pattern) in sentence), "another form")
    sentence = _REGEX.sub(lambda _: form, sentence)
    if place and path:
        sentence += f" in `{path}`"
    if path and sentence.startswith("Invalid enum value"):
        choices = _choices(inspect.type_info(to), _STEP.findall(path))
        sentence += f". Choose of {', '.join(choices)}" if choices else ""
    return InvalidRequest(f"{sentence}.", param=path)


def _choices(kind: inspect.Type, path: Sequence[str]) -> Sequence[str]:
    """List the words that may stand at a path of a type; none where it is no closed vocabulary."""
    match kind:
        case inspect.Metadata():
            return _choices(kind.type, path)
        case inspect.UnionType():
            return next(filter(None, (_choices(each, path) for each in kind.types)), ())
        case inspect.StructType() if path:
            return next((_choices(each.type, path[1:]) for each in kind.fields if each.encode_name == path[0]), ())
        case inspect.CollectionType() if path:
            return _choices(kind.item_type, path[1:])
        case inspect.LiteralType() if not path:
            return [str(value) for value in kind.values]
        case _:
            return ()
