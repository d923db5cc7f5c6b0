"""One model call, whole: admit, resolve, reserve, attempt, settle, record."""

from backstay.gateway.admission import Capacity, Ticket
from backstay.gateway.board import Board, RouteBoard, TargetRow, may_operate
from backstay.gateway.call import Gateway, call
from backstay.gateway.gate import Gate
from backstay.gateway.resolve import Models
from backstay.gateway.stored import StoredResponses
from backstay.gateway.tries import RetryPolicy
from backstay.gateway.types import (
    ANYTHING,
    Ability,
    Degraded,
    Headers,
    Incoming,
    Model,
    Route,
    Sink,
    Target,
)
from backstay.gateway.unread import record_unread

__all__ = [
    "ANYTHING",
    "Ability",
    "Board",
    "Capacity",
    "Degraded",
    "Gate",
    "Gateway",
    "Headers",
    "Incoming",
    "Model",
    "Models",
    "RetryPolicy",
    "Route",
    "RouteBoard",
    "Sink",
    "StoredResponses",
    "Target",
    "TargetRow",
    "Ticket",
    "call",
    "may_operate",
    "record_unread",
]
