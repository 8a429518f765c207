"""`grpc.health.v1.Health`: the standard health service, checked once or watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from grpc_health.v1 import health_pb2

from router.gateway.catalogue import Catalogue
from router.gateway.grpc.rpc.inference import Context
from router.gateway.grpc.rpc.query import parse
from serving.protocol.errors import not_found

#: How often a watched status is looked at.
WATCH_PERIOD_S: Final = 0.5


#: Asked by name, it tells whether to restart this process, where the server as a whole tells whether to send requests.
LIVENESS: Final = "liveness"


class HealthMethods:
    """Knows the server as a whole (the empty name), the services named, and `LIVENESS`."""

    def __init__(self, catalogue: Catalogue, services: frozenset[str]) -> None:
        self._catalogue = catalogue
        self._services = services | {"", LIVENESS}
        self.draining = False

    async def check(self, message: bytes, _context: Context) -> bytes:
        """Say whether a service serves.

        Raises:
            ServingError: NOT_FOUND, as the health protocol asks for an unknown service.
        """
        service = parse(health_pb2.HealthCheckRequest, message).service
        if service not in self._services:
            raise not_found(f'unknown service "{service[:64]}"')
        return _encode(self._status(service))

    async def watch(self, messages: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
        """Say it now and after each change; an unknown service may become known, so it is no error.

        It ends with the router, which would wait for it otherwise.
        """
        service = ""
        async for message in messages:
            service = parse(health_pb2.HealthCheckRequest, message).service
            break
        told = -1
        while True:
            is_last, status = self.draining, self._status(service)
            if status != told:
                told = status
                yield _encode(status)
            if is_last:
                return
            await asyncio.sleep(WATCH_PERIOD_S)

    def _status(self, service: str) -> int:
        response = health_pb2.HealthCheckResponse
        if service not in self._services:
            return int(response.SERVICE_UNKNOWN)
        ready = not self.draining and (service == LIVENESS or self._catalogue.reason_unready() is None)
        return int(response.SERVING if ready else response.NOT_SERVING)


def _encode(status: int) -> bytes:
    message: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return message
