"""Keys have their shape; hashes depend on the installation's secret and the kind; passwords carry their parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.access import clean_label
from backstay.access.tokens import (
    KeyHasher,
    hash_password,
    is_key_shaped,
    key_prefix,
    new_key_text,
    verify_password,
)


def test_keys_have_their_shape() -> None:
    """A key is ``bs_``, ten of base32, ``_`` and 32 of base62, never twice the same."""
    made = {new_key_text() for _ in range(1000)}
    assert len(made) == 1000
    assert all(is_key_shaped(key) and len(key) == 46 for key in made)
    assert all(key.startswith(key_prefix(key) + "_") and len(key_prefix(key)) == 13 for key in made)


def test_hashes_depend_on_secret_and_kind() -> None:
    """The same text hashes differently under another secret and as another kind of credential."""
    one, other = KeyHasher(b"1" * 32), KeyHasher(b"2" * 32)
    hashes = {hasher.key("x") for hasher in (one, other)}
    hashes |= {hasher.token(kind, "x") for hasher in (one, other) for kind in ("link", "session")}
    assert len(hashes) == 6
    assert one.key("x") == KeyHasher(b"1" * 32).key("x")


def test_a_short_secret_is_refused() -> None:
    """An installation's secret has 32 bytes, no fewer."""
    with pytest.raises(ValueError, match="32 bytes"):
        KeyHasher(b"short")


def test_passwords_are_salted_and_carry_their_parameters() -> None:
    """Two hashes of one password differ, each verifies, and an older, cheaper hash goes on verifying."""
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first != second
    assert first.startswith("scrypt$32768$8$3$")
    assert verify_password("correct horse", first)
    assert not verify_password("correct horsf", first)
    # Source: RFC 7914, section 12 (2016): the third test vector, its first 32 bytes.
    older = "scrypt$16384$8$1$U29kaXVtQ2hsb3JpZGU=$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI="
    assert verify_password("pleaseletmein", older)


def test_nobody_has_no_password() -> None:
    """Where there is no hash, no password fits."""
    assert not verify_password("", None)
    assert not verify_password("correct horse", None)


@given(st.text(max_size=300))
def test_labels_are_one_short_visible_line(text: str) -> None:
    """A cleaned label has no control characters, at most 128 characters, and is its own cleaned form."""
    cleaned = clean_label(text)
    assert len(cleaned) <= 128
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip() == clean_label(cleaned)


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("user-1", "user-1"),
        (" padded ", "padded"),
        ("a\r\nset-cookie: x", "aset-cookie: x"),
        ("nul\0", "nul"),
        ("\x1b[31mred", "[31mred"),
        ("Zoë", "Zoë"),
        ("x" * 200, "x" * 128),
        ("\u202eevil", "evil"),
        ("\n", ""),
    ],
)
def test_labels_lose_what_cannot_be_shown(given_text: str, kept: str) -> None:
    """Control characters and what reorders text are dropped; letters of any script stay."""
    assert clean_label(given_text) == kept
