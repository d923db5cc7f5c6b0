"""Tests of the first look at a body."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.errors import InvalidRequest
from backstay.gateway.body import read_fields, read_flag, read_text

texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(texts, json_values, max_size=6), st.sampled_from([None, 2]))
def test_values_stay_the_bytes_that_came(body: dict[str, object], indent: int | None):
    """Splitting and writing again changes nothing but white space between fields."""
    text = json.dumps(body, indent=indent).encode()
    fields = read_fields(text)
    assert json.loads(msgspec.json.encode(fields)) == body
    assert all(bytes(raw) in text for raw in fields.values())


@given(st.binary(max_size=200))
def test_any_bytes_are_either_an_object_or_a_clear_error(body: bytes):
    """No body makes anything but fields or an InvalidRequest."""
    try:
        fields = read_fields(body)
    except InvalidRequest as error:
        assert error.message.endswith((".", "}"))
    else:
        assert isinstance(json.loads(body), dict) and set(fields) == set(json.loads(body))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "The request has no body."),
        (b"[]", "not an object"),
        (b'"x"', "not an object"),
        (b"{", "not valid JSON"),
        (b"\xff{}", "not valid UTF-8: byte 0 is 0xff"),
        (b'{"a": "\xc3\x28"}', "not valid UTF-8"),
        (b'{"a": "%b\xc3\x28"}' % (b"x" * 1_048_569), "not valid UTF-8: byte 1048576 is 0xc3"),
        (b'{"a": "%b\xc3\x28"}' % (b"x" * 1_048_568), "not valid UTF-8: byte 1048575 is 0xc3"),
        (b'{"a": "%b\xc3' % (b"x" * 3_000_000), "not valid UTF-8: byte 3000007 is 0xc3"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"model":"a","model":"b"}', "'model' is there 2 times"),
        (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ],
)
def test_a_bad_body_is_explained(body: bytes, sentence: str):
    """Each kind of bad body gets its own sentence."""
    with pytest.raises(InvalidRequest) as caught:
        read_fields(body)
    assert sentence in caught.value.message


def test_a_name_may_stand_again_further_in():
    """Only top-level fields must be unique: a tool's schema may well have a property called model."""
    fields = read_fields(b'{"model":"a","tools":[{"properties":{"model":1,"model":2}}]}')
    assert list(fields) == ["model", "tools"]


@pytest.mark.parametrize("value", ["1", "[]", "true", "{}"])
def test_a_text_must_be_a_text(value: str):
    """A field of the wrong type is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        read_text(read_fields(f'{{"model":{value}}}'.encode()), "model")
    assert caught.value.param == "model"


@pytest.mark.parametrize("value", ["1", "[]", '"true"', "{}"])
def test_a_flag_must_be_a_flag(value: str):
    """A field of the wrong type is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        read_flag(read_fields(f'{{"stream":{value}}}'.encode()), "stream")
    assert caught.value.param == "stream"


def test_null_is_the_same_as_absent():
    """Null leaves a field to its default."""
    fields = read_fields(b'{"user":null,"stream":null}')
    assert (read_text(fields, "user"), read_flag(fields, "stream")) == (None, False)
