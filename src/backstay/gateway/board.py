"""Owns what people see of routes, every model's targets as all workers see them, and the taking of one out of use.

A target belongs to the installation and not to a tenant. Who may use a model sees how its targets stand; how much goes
there, and taking one out of use, is for the operator and the admins of the installation's own tenant.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from backstay.access import AuditLog
from backstay.core.caller import DEFAULT_TENANT, Caller
from backstay.core.clock import Clock
from backstay.core.errors import Forbidden, NotFound
from backstay.gateway.resolve import Models
from backstay.gateway.types import Model, Target
from backstay.health import HealthStore
from backstay.health.summary import Standing, TargetSummary, summarise, unknown

_LONGEST_NAME = 300

USABLE: frozenset[Standing] = frozenset({"ready", "busy", "limited", "slow", "checking", "unknown"})
"""How a target may stand that calls still go to, now or in a moment."""


class TargetRow(msgspec.Struct, frozen=True, kw_only=True):
    """A target: how it stands, and which of the models that are shown may go there."""

    name: str
    problem: str | None
    """Why it cannot answer at all, such as a missing key; ``None`` where nothing is known to be wrong."""
    health: TargetSummary
    models: tuple[str, ...]

    @property
    def is_ill(self) -> bool:
        """Whether somebody should look at it. One that an operator took out of use is not ill."""
        return self.health.standing in ("open", "checking", "slow") or self.problem is not None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All routes that a caller may see. Targets that are in no model come last, for who runs the installation."""

    models: tuple[Model, ...]
    targets: tuple[TargetRow, ...]
    is_whole: bool
    """Whether the figures of all traffic are in it; else those that tell how much others use are left out."""

    def row(self, name: str) -> TargetRow | None:
        """Find a target by its name."""
        return next((row for row in self.targets if row.name == name), None)

    def next_for(self, model: Model, name: str) -> str | None:
        """Name the target that a model's calls go to while another is out of use; ``None``: there is none."""
        others = [row for target in model.targets if target.name != name and (row := self.row(target.name))]
        return next((row.name for row in others if row.problem is None and row.health.standing in USABLE), None)


class RouteBoard:
    """Shows routes, takes targets out of use and back. Every method raises ``StoreUnavailable`` without Postgres."""

    def __init__(self, models: Callable[[], Models], health: HealthStore, audit: AuditLog, clock: Clock):
        self._models = models
        self._health = health
        self._audit = audit
        self._clock = clock

    async def show(self, by: Caller) -> Board:
        """Show the models that a caller may use, and how their targets stand."""
        models, is_whole = self._models().visible_to(by), _sees_all(by)
        now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        known = summarise(await self._health.reports(), await self._health.drains(), now)
        named = _targets(models)
        names = [*named, *(name for name in known if name not in named and is_whole)]
        rows = [
            TargetRow(
                name=name,
                problem=named[name].provider.problem if name in named else None,
                health=known.get(name) or unknown(name),
                models=tuple(model.name for model in models if any(each.name == name for each in model.targets)),
            )
            for name in names
        ]
        return Board(
            models=tuple(models), targets=tuple(row if is_whole else _hide(row) for row in rows), is_whole=is_whole
        )

    async def drain(self, by: Caller, name: str) -> TargetRow:
        """Send no more calls to a target; those that are there end as they would have.

        Raises:
            Forbidden: The caller does not run the installation.
            NotFound: There is no such target.
        """
        return await self._set(by, name, drained=True)

    async def undrain(self, by: Caller, name: str) -> TargetRow:
        """Put a target in use again. Raises as ``drain``."""
        return await self._set(by, name, drained=False)

    async def _set(self, by: Caller, name: str, *, drained: bool) -> TargetRow:
        if not may_operate(by):
            raise Forbidden(
                "A target is used by all tenants, so only the operator and admins of the tenant "
                f"`{DEFAULT_TENANT}` take it out of use. Ask one of them."
            )
        if (row := (await self.show(by)).row(name)) is None and not self._exists(name):
            raise NotFound("There is no such target. `GET /v1/routes` lists them.")
        if drained == (row is not None and row.health.drain is not None):
            return row or _unseen(name)
        action = "target.drain" if drained else "target.undrain"
        await self._health.set_drained(
            name,
            drained,
            by=by.name,
            record=lambda connection: self._audit.note(connection, by, action, name),
        )
        return (await self.show(by)).row(name) or _unseen(name)

    def _exists(self, name: str) -> bool:
        """Whether calls may name a target that is in no model and was never asked."""
        return len(name) <= _LONGEST_NAME and name.isprintable() and self._models().target(name) is not None


def may_operate(by: Caller) -> bool:
    """Whether a caller runs the installation: the operator, and who administers the operator's own tenant."""
    return by.kind == "operator" or (by.tenant_id == DEFAULT_TENANT and by.may("admin"))


def _sees_all(by: Caller) -> bool:
    return may_operate(by) or (by.tenant_id == DEFAULT_TENANT and by.kind == "person")


def _targets(models: Sequence[Model]) -> dict[str, Target]:
    """Find every target of some models, once, in the order in which they stand there."""
    found: dict[str, Target] = {}
    for model in models:
        stand_in = model.route.degraded.target
        for target in (*model.targets, *([stand_in] if stand_in is not None else [])):
            found.setdefault(target.name, target)
    return found


def _hide(row: TargetRow) -> TargetRow:
    """Leave out what would tell one tenant how much others use."""
    health = msgspec.structs.replace(
        row.health, in_flight=0, concurrency_limit=None, retries_left=0.0, tries=0, failures=0, share=None,
        requests=None, tokens=None, drain=row.health.drain and msgspec.structs.replace(row.health.drain, by="operator"),
    )  # fmt: skip
    return msgspec.structs.replace(row, health=health)


def _unseen(name: str) -> TargetRow:
    return TargetRow(name=name, problem=None, health=unknown(name), models=())
