"""Owns what ``serve`` and ``demo`` show of the supervisor: one aligned line an event, and what is still awaited."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from backstay.cli.output import is_fancy, paint

if TYPE_CHECKING:
    from backstay.supervisor import Component, Event

NAMES: "dict[Component, str]" = {
    "postgres": "PostgreSQL",
    "models": "SmolLM2-135M, all-MiniLM-L6-v2",
    "gateway": "gateway and console",
    "shipping": "journal shipping",
    "jobs": "batches and later calls",
    "backstay": "Backstay",
}
_ROLES = {"ready": "good", "restarting": "waiting", "failed": "wrong", "draining": "waiting"}


class Board:
    """Tells events on stderr; ``on_ready`` is called when everything is there."""

    def __init__(self, on_ready: Callable[[], None]):
        self._on_ready = on_ready
        self._awaited: list[Component] = []

    def tell(self, event: "Event") -> None:
        """Print an event. On a terminal, a last line names what is still starting."""
        if self._awaited and is_fancy(sys.stderr):
            click.echo("\r\x1b[K", err=True, nl=False)
        if event.state == "starting":
            self._awaited.append(event.component)
        else:
            self._awaited = [component for component in self._awaited if component != event.component]
            self._print(event)
        if self._awaited and is_fancy(sys.stderr):
            names = ", ".join(NAMES[component] for component in self._awaited)
            click.echo(paint(f"  starting {names} …", "dim", sys.stderr), err=True, nl=False)

    def _print(self, event: "Event") -> None:
        if event.component == "backstay" and event.state == "ready":
            self._on_ready()
            return
        state = paint(f"{event.state:<10}", _ROLES.get(event.state, "dim"), sys.stderr)
        took = "" if event.seconds is None else f"{event.seconds:.1f} s"
        click.echo(f"  {NAMES[event.component]:<32} {state} {took:>6}   {event.detail}".rstrip(), err=True)
