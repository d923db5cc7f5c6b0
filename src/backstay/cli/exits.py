"""Owns the exit codes, and which error ends in which."""

from backstay.core.errors import BackstayError, ConfigError, Forbidden, NotFound, Unauthenticated

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
NOT_ALLOWED = 4
NOT_FOUND = 5
CONFIG = 6
DIFFERENT = 7

MEANING = {
    OK: "It worked.",
    FAILED: "It did not work; the sentence on stderr says why.",
    USAGE: "The command line is wrong.",
    UNREACHABLE: "No server answers at the URL.",
    NOT_ALLOWED: "No credential, or one that may not do this.",
    NOT_FOUND: "There is no such thing.",
    CONFIG: "A setting, `backstay.toml` or the data folder is wrong.",
    DIFFERENT: "What was compared is not the same.",
}


class Unreachable(BackstayError):
    """No server answers. `backstay serve` starts one on this machine."""

    code = "unreachable"


def exit_code(error: BackstayError) -> int:
    """Choose the exit code for an error, here or as told by the server."""
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, ConfigError):
        return CONFIG
    if isinstance(error, Unauthenticated | Forbidden) or error.status in (401, 403):
        return NOT_ALLOWED
    if isinstance(error, NotFound) or error.status == 404:
        return NOT_FOUND
    return FAILED
