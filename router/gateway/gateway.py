"""One router process put together: policies in, endpoints in, two ports out. Knows no Ray."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from router.adapters.files.policy_snapshot import read_policy_snapshot, write_policy_snapshot
from router.adapters.files.shadow_folder import ShadowFolder
from router.gateway.authorization import Authorizer
from router.gateway.catalogue import Catalogue
from router.gateway.dispatch.dispatcher import Dispatcher
from router.gateway.dispatch.meters import Meters
from router.gateway.dispatch.policy_view import PolicyView, VersionKey
from router.gateway.dispatch.pools import Pools
from router.gateway.dispatch.readiness import RouterReadiness
from router.gateway.doors import LAST_ANSWERS_S, build_doors
from router.gateway.grpc.wire import match_grpc
from router.gateway.http.exchange import InferService
from router.gateway.http.server import open_shared_socket
from router.gateway.http.v1_mlflow_wire import RowsRoutes
from router.gateway.key_follower import KeyFollower
from router.gateway.log.meters import LogMeters
from router.gateway.log.recorder import Recorder
from router.gateway.log.shipper import Shipper
from router.gateway.shadow.shadows import Shadows
from router.gateway.slots import Slot
from router.ports import KeyStore, LabelSink, PolicyStore, VersionBoard
from router.settings import Settings
from serving.channel.endpoint import Endpoint
from serving.deployment.hosting.host_watches import HostedEndpoint
from serving.protocol.messages import Limits
from serving.telemetry import catalog
from serving.telemetry.instruments import Registry
from serving.telemetry.publisher import Publisher

_log = logging.getLogger(__name__)


class Gateway:
    """A router: serves from `start` to `close`, whatever happens to the store meanwhile."""

    def __init__(
        self,
        settings: Settings,
        *,
        incarnation: str,
        token: bytes,
        store: PolicyStore,
        board: VersionBoard,
        recorder: Recorder,
        shipper: Shipper,
        labels: LabelSink,
        keys: KeyStore,
        keys_file: Path,
        snapshot_file: Path,
        metrics_dir: Path,
        slot: Slot | None = None,
        hosted: Mapping[VersionKey, HostedEndpoint] | None = None,
    ) -> None:
        """Put it together.

        With a slot, Envoy has the public gRPC port and calls come over the slot's sockets; without, this router serves
        gRPC on the public port itself. `hosted` says where versions that share a process are, until control says more.
        """
        self._settings = settings
        self._slot = slot
        self._store = store
        self._board = board
        self._recorder = recorder
        self._shipper = shipper
        self._snapshot_file = snapshot_file
        self._registry = Registry(f"router-{incarnation}")
        self._publisher = Publisher(self._registry, metrics_dir, interval_s=settings.metrics_interval_s)
        self._view = PolicyView(hosted)
        self._pools = Pools(token=token)
        meters = Meters(self._registry)
        authorizer = Authorizer(self._registry, required=settings.api_keys == "required")
        self._keys = KeyFollower(authorizer, keys, keys_file)
        self._dispatcher = Dispatcher(
            view=self._view,
            pool_of=self._pools.primary,
            recorder=recorder,
            meters=meters,
            authorizer=authorizer,
            max_in_flight=settings.max_in_flight,
        )
        self._pools.owner = self._dispatcher
        self._shadows = Shadows(self._dispatcher, self._pools.shadow, meters, ShadowFolder(metrics_dir), incarnation)
        self._dispatcher.mirror = self._shadows.mirror
        numbers = itertools.count(1)
        self._readiness = RouterReadiness(self._view, self._pools.find)
        catalogue = Catalogue(self._view, self._pools.find, self._readiness.reason)
        self._service = service = InferService(
            self._dispatcher,
            limits=Limits(max_body_bytes=settings.max_body_bytes),
            request_timeout_s=settings.request_timeout_s,
            next_id=lambda: f"{incarnation}-{next(numbers):x}",
            authorizer=authorizer,
            match=RowsRoutes(catalogue, self._dispatcher).match,
        )
        self._http, self._grpc = build_doors(
            settings, service, catalogue, labels=labels, publisher=self._publisher, metrics_dir=metrics_dir
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._reported: dict[VersionKey, HostedEndpoint | None] | None = None
        self.on_versions_wanted: Callable[[frozenset[VersionKey]], None] = lambda _: None
        """Told which versions to discover, whenever that changes, or where one of them lives."""

    def __repr__(self) -> str:
        return f"<Gateway {self._registry.process} epoch {self._view.epoch} {self._dispatcher!r}>"

    async def start(self) -> None:
        """Load the policies, from the store or else from disk, then open the ports.

        Raises:
            OSError: a port is taken.
        """
        http_socket = open_shared_socket(self._settings.host, self._settings.http_port)
        await self._load_policies()
        await self._keys.load()
        self._registry.before_snapshot(self._refresh_gauges)
        self._registry.before_snapshot(LogMeters(self._registry, self._recorder.counters, self._shipper).refresh)
        await self._publisher.start()
        self._shipper.start()
        self._shadows.start()
        self._tasks = [
            asyncio.create_task(self._follow_policies(), name="follow-policies"),
            asyncio.create_task(self._follow_versions(), name="follow-versions"),
            asyncio.create_task(self._keys.run(), name="follow-keys"),
            asyncio.create_task(self._readiness.run(self._settings.ready_timeout_s), name="readiness"),
        ]
        await self._http.start(http_socket)
        if self._slot is None:
            await self._grpc.start(f"{self._settings.host}:{self._settings.grpc_port}")
        else:
            await self._grpc.start(f"unix:{self._slot.grpc_socket}")
            await self._http.listen_for_envoy(self._slot.infer_socket, self._service.matching(match_grpc))

    def revision(self, model: str) -> int:
        """Revision of the policy that this router acts on, 0 when the model has none."""
        served = self._view.models.get(model)
        return served.stored.revision if served else 0

    @property
    def key_epoch(self) -> int:
        """Epoch of the keys that this router checks against, -1 while it has none."""
        return self._keys.epoch

    @property
    def in_flight(self) -> int:
        """Primary calls that are not settled yet."""
        return self._dispatcher.in_flight

    def set_endpoints(self, model: str, version: int, endpoints: Sequence[Endpoint]) -> None:
        """Take what discovery says about a version's replicas."""
        self._pools.set_endpoints((model, version), endpoints)

    async def close(self) -> None:
        """Drain: stop accepting, answer what is in flight, write and ship what is logged. Once, however often asked.

        What has no answer when the drain's time is up is refused as unavailable, while its client can still be told.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(), name="close-gateway")
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        drain_s = self._settings.drain_timeout_s
        end_of_drain = asyncio.get_running_loop().call_later(drain_s, self._dispatcher.close)
        await asyncio.gather(self._http.close(), self._grpc.close(drain_s + LAST_ANSWERS_S))
        end_of_drain.cancel()
        self._dispatcher.close()
        if self._slot is not None:
            self._slot.release()
        await self._pools.close()
        self._recorder.flush()
        await self._shipper.stop(drain_s)
        await self._shadows.close()
        await self._publisher.close()

    async def _load_policies(self) -> None:
        try:
            self._view.apply(await self._store.snapshot())
            self._view.apply_versions(await self._board.read())
        except Exception as error:  # noqa: BLE001 - any failure of the store means the same: go on with what is on disk
            found = await asyncio.to_thread(read_policy_snapshot, self._snapshot_file)
            if found.snapshot is None:
                _log.warning("No policies yet: the store failed (%s) and %s", error, found.reason)
            else:
                _log.warning("The store failed (%s); serving the last good policies from disk", error)
                self._view.apply(found.snapshot)
        self._report_wanted()

    async def _follow_policies(self) -> None:
        async for snapshot in self._store.watch():
            if self._view.apply(snapshot):
                self._report_wanted()
                try:
                    await asyncio.to_thread(write_policy_snapshot, self._snapshot_file, snapshot)
                except OSError as error:
                    _log.warning("Cannot keep the policies on disk: %s", error)

    async def _follow_versions(self) -> None:
        async for statuses in self._board.watch():
            if self._view.apply_versions(statuses):
                self._report_wanted()

    def hosted_endpoint(self, key: VersionKey) -> HostedEndpoint | None:
        """Where a version lives that shares its process; None for all others."""
        return self._view.hosted_endpoint(key)

    def starving(self) -> frozenset[VersionKey]:
        """Find versions that requests wait for and that have no replica."""
        return self._pools.starving()

    def _report_wanted(self) -> None:
        wanted = self._view.wanted
        hosted = {key: self._view.hosted_endpoint(key) for key in wanted}
        if hosted == self._reported:
            return
        self._reported = hosted
        for pool in self._pools.retain(wanted):
            pool.set_endpoints(())  # it answers what it holds, then hangs up
        self.on_versions_wanted(wanted)

    def _refresh_gauges(self) -> None:
        gauge = self._registry.gauge
        gauge(catalog.CONNECTIONS, protocol="http").set(self._http.connections)
        for (model, version), pool in self._pools.items():
            gauge(catalog.REQUESTS_IN_FLIGHT, model=model, version=str(version)).set(pool.in_flight)
        for model, served in self._view.models.items():
            gauge(catalog.POLICY_REVISION, model=model).set(served.stored.revision)
            for variant in served.stored.policy.variants:
                labels = {"model": model, "version": str(variant.version), "variant": variant.name}
                gauge(catalog.VARIANT_WEIGHT, **labels).set(variant.weight / 10_000)
