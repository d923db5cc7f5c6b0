"""Owns secrets: the text of keys and tokens, their keyed hashes, and password hashes."""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Literal

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"bs_[a-z2-7]{10}_[0-9A-Za-z]{32}")
_PREFIX_END = 13
"""Length of ``bs_`` and ten characters: what a key is found by."""

# Cost of one password check: 32 MiB of memory and about a third of a second.
# Source: OWASP Password Storage Cheat Sheet (2025): scrypt with N=2^15, r=8, p=3 is among its equivalent minimums.
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 3

TokenKind = Literal["link", "session", "operator"]


def new_key_text() -> str:
    """Make a key: ``bs_``, ten characters to find it by, ``_``, and 190 bits of secret."""
    prefix = "".join(secrets.choice(_BASE32) for _ in range(10))
    return f"bs_{prefix}_" + "".join(secrets.choice(_BASE62) for _ in range(32))


def key_prefix(key: str) -> str:
    """Return the part of a key that it is found by."""
    return key[:_PREFIX_END]


def is_key_shaped(text: str) -> bool:
    """Tell whether a text could be a key at all."""
    return _KEY.fullmatch(text) is not None


class KeyHasher:
    """Hashes keys and tokens with the installation's secret, so that the database alone does not let anyone guess.

    They are random and long: one fast keyed hash is enough, and it is on the path of every call.
    """

    def __init__(self, secret: bytes):
        """Take the installation's secret, 32 bytes."""
        if len(secret) != 32:
            raise ValueError("the installation's secret must be 32 bytes")
        self._key = hashlib.blake2b(digest_size=32, key=secret, person=b"key")
        self._tokens = {
            kind: hashlib.blake2b(digest_size=32, key=secret, person=kind.encode())
            for kind in ("link", "session", "operator")
        }

    def key(self, key: str) -> bytes:
        """Hash a key; 32 bytes."""
        state = self._key.copy()
        state.update(key.encode("utf-8", "surrogatepass"))
        return state.digest()

    def token(self, kind: TokenKind, token: str) -> bytes:
        """Hash a token of one kind; 32 bytes. A token of one kind is nothing to another."""
        state = self._tokens[kind].copy()
        state.update(token.encode("utf-8", "surrogatepass"))
        return state.digest()


def new_token() -> str:
    """Make a token of 256 random bits, for links, cookies and forms."""
    return secrets.token_urlsafe(32)


def hash_password(password: str) -> str:
    """Hash a password, with the parameters in the hash: ``scrypt$n$r$p$salt$hash``. Run in a thread: it takes long."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(("scrypt", str(_SCRYPT_N), str(_SCRYPT_R), str(_SCRYPT_P), *encoded))


def verify_password(password: str, stored: str | None) -> bool:
    """Tell whether a password fits its hash. With ``None`` it works as long, and says no. Run in a thread."""
    if stored is None:
        _scrypt(password, b"\0" * 16, _SCRYPT_N, _SCRYPT_R, _SCRYPT_P)
        return False
    _, n, r, p, salt, digest = stored.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=n, r=r, p=p, maxmem=256 * r * (n + p + 2), dklen=32)
