"""Paths of the V2 shared-memory extensions, so that clients get a reason: they are never offered."""

from __future__ import annotations

from router.access.scope import Action
from router.gateway.http.routes.table import Asked, Reply, Routes
from serving.protocol.errors import ErrorKind, ServingError


class SharedMemoryRoutes:
    """`/v2/systemsharedmemory/*` and `/v2/cudasharedmemory/*`."""

    def register(self, routes: Routes) -> None:
        """Put them into the table."""
        for kind in ("system", "cuda"):
            base = f"/v2/{kind}sharedmemory"
            routes.add("GET", f"{base}/status", Action.METADATA, self.refuse)
            routes.add("GET", base + "/region/{region}/status", Action.METADATA, self.refuse)
            routes.add("POST", f"{base}/unregister", Action.METADATA, self.refuse)
            for verb in ("register", "unregister"):
                routes.add("POST", base + "/region/{region}/" + verb, Action.METADATA, self.refuse)

    async def refuse(self, _asked: Asked) -> Reply:
        """Refuse: a name from the network must not choose memory of this machine."""
        raise ServingError(ErrorKind.UNSUPPORTED, "shared memory is not offered: send the data in the request")
