"""HTTP: the vendors' wires, Backstay's own API, health and metrics. Has no logic of its own."""

from backstay.api.asgi import WIRES, FrontDoor
from backstay.api.auth import Authenticator
from backstay.api.batches import routes as batch_routes
from backstay.api.files import routes as file_routes
from backstay.api.health import Check
from backstay.api.health import routes as health_routes
from backstay.api.manage import ManageDeps
from backstay.api.manage import routes as manage_routes
from backstay.api.models import routes as model_routes
from backstay.api.problems import EXCEPTION_HANDLERS
from backstay.api.responses import routes as response_routes
from backstay.api.wires import Wires

__all__ = [
    "EXCEPTION_HANDLERS",
    "WIRES",
    "Authenticator",
    "Check",
    "FrontDoor",
    "ManageDeps",
    "Wires",
    "batch_routes",
    "file_routes",
    "health_routes",
    "manage_routes",
    "model_routes",
    "response_routes",
]
