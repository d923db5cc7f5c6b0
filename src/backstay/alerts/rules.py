"""Owns which rule of the policy an alert falls under, and so who is told of it. Pure."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase

import msgspec

from backstay.alerts.config import AlertConfig, ChannelConfig
from backstay.alerts.types import Kind


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A share of a budget at which somebody is told."""

    share: Decimal
    margin: Decimal
    """The alert is over below ``share - margin``."""
    channels: tuple[str, ...]


class AlertRules:
    """The policy's rules and channels."""

    def __init__(
        self, alerts: Mapping[str, AlertConfig] | None = None, channels: Mapping[str, ChannelConfig] | None = None
    ):
        self._alerts = tuple((alerts or {}).values())
        self.channels: Mapping[str, ChannelConfig] = channels or {}
        self.told_of_ends: Collection[str] = {name for name, each in self.channels.items() if each.resolved}
        """The channels that are told when an alert is over."""
        self.lowest_share = min((share for alert in self._alerts for share in alert.budget_share), default=None)

    def asks_for(self, kind: Kind) -> bool:
        """Whether any rule names this kind."""
        return any(kind in alert.on for alert in self._alerts)

    def wants(self, tenant_id: str, kind: Kind) -> bool:
        """Whether a rule names this kind for this tenant."""
        return any(kind in alert.on and _is_of(alert, tenant_id) for alert in self._alerts)

    def channels_of(self, tenant_id: str, kind: Kind) -> list[str]:
        """Say who is told of a kind, each once."""
        named = [alert.channels for alert in self._alerts if kind in alert.on and _is_of(alert, tenant_id)]
        return list(dict.fromkeys(channel for channels in named for channel in channels))

    def bounds_of(self, tenant_id: str, labels: Sequence[str]) -> list[Bound]:
        """List the shares that matter for a budget, the lowest first.

        Args:
            labels: Its name, id and scope: a pattern of a rule must fit one of them.
        """
        found: dict[Decimal, Bound] = {}
        for alert in self._alerts:
            if not _is_of(alert, tenant_id) or not any(
                fnmatchcase(label, p) for label in labels for p in alert.budgets
            ):
                continue
            for share in alert.budget_share:
                known = found.get(share) or Bound(share=share, margin=alert.margin, channels=())
                found[share] = Bound(
                    share=share,
                    margin=max(known.margin, alert.margin),
                    channels=tuple(dict.fromkeys((*known.channels, *alert.channels))),
                )
        return [found[share] for share in sorted(found)]


def _is_of(alert: AlertConfig, tenant_id: str) -> bool:
    return alert.tenants is None or tenant_id in alert.tenants
