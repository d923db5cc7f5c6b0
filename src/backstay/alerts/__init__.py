"""What somebody should know of: alerts, each raised once, told by webhook, Slack or mail, and over in time."""

from backstay.alerts.config import AlertConfig, ChannelConfig
from backstay.alerts.raising import Alerts
from backstay.alerts.rules import AlertRules
from backstay.alerts.types import Alert, Finding, Key, Kind

__all__ = ["Alert", "AlertConfig", "AlertRules", "Alerts", "ChannelConfig", "Finding", "Key", "Kind"]
