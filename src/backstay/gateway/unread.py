"""Owns what is left of a call that was refused before its body was read: a trace, because its caller is known."""

from backstay.core.errors import BackstayError
from backstay.gateway.call import Gateway, settle_and_record
from backstay.gateway.recording import Recording
from backstay.gateway.types import Incoming


def record_unread(gateway: Gateway, incoming: Incoming, error: BackstayError, *, cancelled: bool) -> str:
    """Write down why there is no call whose body nobody has, and return its trace id.

    Args:
        cancelled: Its caller went away: nobody saw an error.
    """
    recording = Recording(incoming, gateway.clock)
    recording.fail(error)
    if cancelled:
        recording.status, recording.http_status = "cancelled", None
    settle_and_record(gateway, recording)
    return recording.trace_id
