"""Paths about the server: V2 metadata and health, and the health checks of other protocols' clients."""

from __future__ import annotations

from router.access.scope import Action
from router.gateway.catalogue import Catalogue
from router.gateway.http.routes.table import Asked, Reply, Routes
from router.gateway.statuses import STATUSES
from serving.protocol.errors import ErrorKind


class ServerRoutes:
    """`/v2`, `/v2/health/*`; `/ping` (SageMaker), `/health` and `/version` (MLflow)."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def register(self, routes: Routes) -> None:
        """Put them into the table."""
        routes.add("GET", "/v2", Action.METADATA, self.metadata)
        routes.add("GET", "/v2/health/live", None, self.live)
        for path in ("/v2/health/ready", "/ping", "/health"):
            routes.add("GET", path, None, self.ready)
        routes.add("GET", "/version", Action.METADATA, self.version)

    async def metadata(self, _asked: Asked) -> Reply:
        """V2 server metadata."""
        return Reply(self._catalogue.server_metadata())

    async def live(self, _asked: Asked) -> Reply:
        """Say that this process answers."""
        return Reply()

    async def ready(self, _asked: Asked) -> Reply:
        """Say whether this router should get traffic."""
        return readiness(self._catalogue.reason_unready())

    async def version(self, _asked: Asked) -> Reply:
        """Say which release this is, as bare text."""
        return Reply(text=self._catalogue.server_metadata()["version"])


def readiness(reason: str | None) -> Reply:
    """Answer a question for readiness: nothing, or 503 and the reason."""
    return Reply() if reason is None else Reply({"error": reason}, STATUSES[ErrorKind.UNAVAILABLE].http)
