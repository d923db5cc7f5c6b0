"""What breaks the rules of its type is told in one sentence that names the field."""

from typing import Any

import msgspec
import pytest

from backstay.access.checks import convert, invalid
from backstay.access.types import Invitation, NewKey
from backstay.core.errors import InvalidRequest

SENTENCES: list[tuple[Any, type[Any], str]] = [
    ({}, NewKey, "Object missing required field `name`."),
    ({"name": 7}, NewKey, "Expected `str`, got `int` in `name`."),
    ({"name": "a\n"}, NewKey, "Expected one line of visible text, without blanks at its ends in `name`."),
    ({"name": "a", "tags": ["b", ""]}, NewKey, "Expected `str` of length >= 1 in `tags[1]`."),
    (
        {"name": "a", "routes": ["x"]},
        NewKey,
        "Expected the path of a wire, such as /v1/chat/completions in `routes[0]`.",
    ),
    ({"name": "a", "rights": ["own"]}, NewKey, "Invalid enum value 'own' in `rights[0]`. Choose of admin, call, read."),
    (
        {"name": "a", "priority": "high"},
        NewKey,
        "Invalid enum value 'high' in `priority`. Choose of batch, interactive.",
    ),
    ({"name": "a", "colour": 1}, NewKey, "Object contains unknown field `colour`."),
    ({"email": "a b@c"}, Invitation, "Expected a mail address in `email`."),
    ([], NewKey, "Expected `object`, got `array`."),
]


@pytest.mark.parametrize(("value", "to", "sentence"), SENTENCES)
def test_sentences(value: Any, to: type[Any], sentence: str) -> None:
    """Each rule has its words, and no pattern of a programmer's is among them."""
    with pytest.raises(InvalidRequest) as caught:
        convert(value, to)
    assert caught.value.message == sentence


def test_json_is_told_as_values_are() -> None:
    """A complaint about JSON text names its field as one about values does."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"name": "a", "tags": [""]}', type=NewKey)
    error = invalid(caught.value, NewKey)
    assert (error.param, error.message) == ("tags[0]", "Expected `str` of length >= 1 in `tags[0]`.")


@pytest.mark.parametrize("name", ["a", "a b", "Zoë", "日本語", "(x)", "x" * 200])
def test_names_of_all_scripts_are_taken(name: str) -> None:
    """A name may be any visible line."""
    assert convert({"name": name}, NewKey).name == name


@pytest.mark.parametrize(
    "email", ["a@b", "Ada.Lovelace+tag@mail.example.com", "o'brien@example.com", "admin@localhost"]
)
def test_usual_addresses_are_taken(email: str) -> None:
    """The mail addresses that people have are valid."""
    assert convert({"email": email}, Invitation).email == email
