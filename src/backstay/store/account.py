"""Owns the system account that embedded Postgres runs as: Postgres refuses to run as root."""

import logging
import os
import pwd
import stat
import subprocess
from pathlib import Path

import msgspec

from backstay.core.errors import ConfigError

SYSTEM_USER = "pgserver"

_log = logging.getLogger(__name__)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the server. ``is_other``: not the user of this process, who then is root."""

    name: str
    uid: int
    gid: int
    is_other: bool


def server_account() -> Account:
    """Return this process's own account, or for root an unprivileged one, which is made where it is missing.

    Raises:
        ConfigError: This user has no name, or root could not make the account.
    """
    if os.geteuid() != 0:
        entry = _entry(os.geteuid())
        return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, is_other=False)
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        entry = _create_user()
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, is_other=True)


def own_name() -> str:
    """Return the name of the user that this process runs as. Raises ``ConfigError`` if the system knows none."""
    return _entry(os.geteuid()).pw_name


def let_through(path: Path) -> None:
    """Give every folder above ``path`` search permission for others where it lacks it, and nothing else.

    Raises:
        ConfigError: A folder could not be changed.
    """
    for folder in path.resolve().parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IXOTH:
            continue
        try:
            folder.chmod(mode | stat.S_IXOTH)
        except OSError as error:
            raise ConfigError(
                f"The account {SYSTEM_USER} must be able to pass through {folder} ({error.strerror}). "
                f"Run `chmod o+x {folder}`, or choose another place with BACKSTAY_DATA_DIR."
            ) from error
        _log.info("gave %s search permission for others, so that %s can reach %s", folder, SYSTEM_USER, path)


def _entry(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise ConfigError(
            f"User id {uid} has no name on this system, and embedded Postgres needs one. "
            "Add the user to /etc/passwd, or set BACKSTAY_DATABASE_URL to a Postgres of your own."
        ) from None


def _create_user() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        reason = getattr(error, "stderr", None) or error
        raise ConfigError(
            f"Postgres does not run as root, and the account {SYSTEM_USER} could not be made ({reason}). Run Backstay "
            "as an ordinary user, make the account, or set BACKSTAY_DATABASE_URL to a Postgres of your own."
        ) from error
