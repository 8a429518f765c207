"""One loaded version behind a tensor channel of its own. Knows no Ray."""

from __future__ import annotations

import asyncio
import os
import time

from serving.backends.backend import Agreement, Backend
from serving.batching.batcher import BatchLimits, OnRun
from serving.channel.endpoint import Endpoint
from serving.channel.server import ChannelServer
from serving.deployment.loaded_model import LoadedModel
from serving.protocol.messages import Tensor


class ModelServer:
    """Serves one backend to any number of routers."""

    def __init__(
        self,
        backend: Backend,
        *,
        token: bytes,
        limits: BatchLimits | None = None,
        max_in_flight: int = 256,
        replica_id: str = "",
        node: str = "",
        on_run: OnRun | None = None,
        agrees: Agreement = lambda _: None,
        unbatched_because: str | None = None,
    ) -> None:
        """Take a loaded backend.

        Args:
            backend: loaded.
            token: what routers must know.
            limits: how far batches and the queue may grow.
            max_in_flight: requests that one connection may have outstanding.
            replica_id: how the replica is called.
            node: where it runs.
            on_run: told of each run.
            agrees: judges a remote backend's answers to the example.
            unbatched_because: a reason not to batch.
        """
        self.model = LoadedModel(
            backend, limits=limits, on_run=on_run, agrees=agrees, unbatched_because=unbatched_because
        )
        self._channel = ChannelServer(
            token=token, max_in_flight=max_in_flight, on_frame=self.model.on_frame, on_lost=self.model.on_lost
        )
        self._replica_id = replica_id
        self._node = node
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where routers reach this replica; known once started."""
        assert self._endpoint is not None, "start() first"
        return self._endpoint

    async def start(self, uds: str, *, example: tuple[Tensor, ...] = ()) -> None:
        """Warm up with `example` (the golden inputs), then listen."""
        await self.model.start(example)
        await self._channel.listen(uds)
        self._endpoint = Endpoint(
            replica_id=self._replica_id,
            uds=uds,
            node=self._node,
            pid=os.getpid(),
            signature=self.model.signature,
            max_in_flight=self._channel.max_in_flight,
            facts=self.model.facts,
        )

    @property
    def waiting(self) -> int:
        """Requests that wait for a run."""
        return self.model.waiting

    def stats(self) -> dict[str, float]:
        """Load figures for autoscaling and metrics; see `Batcher.stats`."""
        return self.model.stats()

    async def drain(self, timeout_s: float) -> bool:
        """Tell routers to go elsewhere and wait until everything received is answered; False when time ran out."""
        self._channel.go_away()
        deadline = time.monotonic() + timeout_s
        while not self.model.idle:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def close(self) -> None:
        """Stop at once: what still waits is refused as unavailable, so that routers retry it elsewhere."""
        await self.model.close()
        await self._channel.close()
