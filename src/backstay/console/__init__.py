"""The web pages that people look at: server-rendered, without a build step, for the people of a tenant.

``routes`` builds them from ``ConsoleDeps``; ``CatalogModel`` and ``CatalogTarget`` say what the models page shows.
"""

from backstay.console.app import routes
from backstay.console.types import CatalogModel, CatalogTarget, ConsoleDeps

__all__ = ["CatalogModel", "CatalogTarget", "ConsoleDeps", "routes"]
