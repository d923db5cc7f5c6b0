"""Owns credentials of providers: read from where they are kept, hidden from every ``repr``, cut out of error texts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from backstay.core.errors import ConfigError

REDACTED = "[redacted]"

_KEY_SHAPED = re.compile(
    r"\b(?:sk-[A-Za-z0-9_*-]{6,}|bs_[A-Za-z0-9]{6,}_\w{8,}|AIza[\w-]{20,}|gsk_\w{16,}|xai-\w{16,}|fw_\w{16,})"
    r"|(?<=[Bb]earer )[\w.~+/*-]{8,}=*"
)
"""Texts that look like a key of a vendor or of Backstay, whole or masked by asterisks as OpenAI's errors show them."""


class Secret:
    """A credential. It shows itself only where ``reveal`` is called."""

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def is_reference(text: str) -> bool:
    """Whether a text says where a secret is kept (``env:NAME`` or ``file:PATH``) instead of being one."""
    kind, _, place = text.partition(":")
    return kind in ("env", "file") and bool(place.strip())


def read_secret(reference: str, environ: Mapping[str, str]) -> Secret:
    """Fetch the secret that ``env:NAME`` or ``file:PATH`` points at, without the white space around it.

    Raises:
        ConfigError: The variable is not set, the file cannot be read, or what is there is empty or not one line.
    """
    kind, _, place = reference.partition(":")
    value = _from_file(place) if kind == "file" else environ.get(place, "")
    value = value.strip()
    if not value:
        where = f"The environment variable {place}" if kind == "env" else f"The file {place}"
        raise ConfigError(f"{where} holds no key. Set it, or remove what refers to it.")
    if any(character < " " for character in value):
        raise ConfigError(f"The key at {reference} is more than one line. Keep the key alone there.")
    return Secret(value)


def _from_file(place: str) -> str:
    try:
        return Path(place).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"The key file {place} cannot be read: {reason}.") from None


def redact(text: str, secrets: Iterable[Secret] = ()) -> str:
    """Replace known secrets, and whatever is shaped like a key, by ``[redacted]``."""
    for secret in secrets:
        text = text.replace(secret.reveal(), REDACTED)
    return _KEY_SHAPED.sub(REDACTED, text)
