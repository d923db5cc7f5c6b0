"""One model call, whole: admit, resolve, reserve, attempt, settle, record."""

from backstay.gateway.admission import Capacity, Priority, Ticket
from backstay.gateway.call import Gateway, call
from backstay.gateway.gate import Gate
from backstay.gateway.recording import interrupted
from backstay.gateway.resolve import Models
from backstay.gateway.types import Headers, Incoming, Model, Sink, Target

__all__ = [
    "Capacity",
    "Gate",
    "Gateway",
    "Headers",
    "Incoming",
    "Model",
    "Models",
    "Priority",
    "Sink",
    "Target",
    "Ticket",
    "call",
    "interrupted",
]
