"""Owns the nouns of the supervisor: what it tells while it works."""

from typing import Literal

import msgspec

Component = Literal["postgres", "models", "gateway", "shipping", "jobs", "backstay"]
"""``models``: the local ones. ``gateway``: the workers. ``shipping``: of their journals.
``jobs``: of batches and calls that are made later. ``backstay``: all of it."""

State = Literal["starting", "ready", "restarting", "failed", "reloading", "draining", "stopped"]
"""``failed``: it is not there, and the rest goes on without it."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A component changed its state. ``seconds``: how long that took, where it took time."""

    component: Component
    state: State
    seconds: float | None = None
    detail: str = ""
