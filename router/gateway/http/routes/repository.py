"""Paths of the V2 model repository extension."""

from __future__ import annotations

from router.access.scope import Action
from router.gateway.http.routes.table import Asked, Reply, Routes
from router.gateway.repository import Repository
from serving.protocol.errors import invalid


class RepositoryRoutes:
    """`/v2/repository/*`."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def register(self, routes: Routes) -> None:
        """Put them into the table."""
        routes.add("POST", "/v2/repository/index", Action.METADATA, self.index)
        for verb, handler in (("load", self.load), ("unload", self.unload)):
            routes.add("POST", "/v2/repository/models/{model}/" + verb, Action.REPOSITORY, handler)

    async def index(self, asked: Asked) -> Reply:
        """List versions and where they stand; `{"ready": true}` leaves out all that cannot answer."""
        only_ready = asked.members().get("ready", False)
        if not isinstance(only_ready, bool):
            raise invalid("ready: must be true or false")
        return Reply(self._repository.index(only_ready=only_ready, sees=asked.sees))

    async def load(self, asked: Asked) -> Reply:
        """Make a version ready."""
        await self._repository.load(asked.model, _parameters(asked), asked.headers)
        return Reply()

    async def unload(self, asked: Asked) -> Reply:
        """Drain a version and free what it holds."""
        await self._repository.unload(asked.model, _parameters(asked), asked.headers)
        return Reply()


def _parameters(asked: Asked) -> dict[str, object]:
    parameters = asked.members().get("parameters") or {}
    if not isinstance(parameters, dict):
        raise invalid("parameters: must be an object")
    return parameters
