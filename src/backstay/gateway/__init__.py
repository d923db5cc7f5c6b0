"""One model call, whole: admit, resolve, reserve, attempt, settle, record."""

from backstay.gateway.call import Gateway, call
from backstay.gateway.recording import interrupted
from backstay.gateway.resolve import Models
from backstay.gateway.stored import StoredResponses
from backstay.gateway.types import Headers, Incoming, Model, Sink, Target

__all__ = [
    "Gateway",
    "Headers",
    "Incoming",
    "Model",
    "Models",
    "Sink",
    "StoredResponses",
    "Target",
    "call",
    "interrupted",
]
