"""The control process put together: versions, admin API, metrics scrape. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
import time

from router.adapters.files.spool_accounting import LocalLogAccounting
from router.adapters.node_readings import NodeReadings
from router.adapters.redis.key_store import RedisKeyStore
from router.adapters.redis.outcomes import RedisOutcomes
from router.adapters.redis.policy_store import RedisPolicyStore
from router.adapters.redis.rollout_store import RedisAnswerStore, RedisRolloutStore
from router.adapters.redis.version_board import RedisVersionBoard
from router.adapters.redis.watch import RedisWatch
from router.adapters.webhook import Webhooks, ensure_secret
from router.admin.api import build_admin
from router.admin.auth import TokenStore
from router.admin.services import RegistryServices, RolloutServices
from router.control.aliases import AliasFollower
from router.control.catalogue import Catalogue
from router.control.exposure_watch import ExposureWatch
from router.control.fleet import Processes
from router.control.gates import Gates
from router.control.hosted_fleet import hosted_fleet
from router.control.registry_webhook import App, Signatures, with_registry_webhook
from router.control.retrained import Retrained
from router.control.rollout_loop import RolloutLoop
from router.control.specs import spec_maker
from router.control.standby import Standby
from router.control.supervision import Supervisor
from router.control.trial_judge import TrialJudge
from router.control.versions import Versions
from router.control.web import WebServer
from router.layout import Layout
from router.ports import StoreUnavailable, VersionStatus
from router.settings import Settings
from serving.protocol.errors import ServingError
from serving.telemetry.catalog import REPLICAS, REPLICAS_WANTED
from serving.telemetry.instruments import Registry
from serving.telemetry.metrics_app import metrics_app
from serving.telemetry.publisher import Publisher

_log = logging.getLogger(__name__)


class Control:
    """Everything that decides and nothing that serves: when it is gone, traffic goes on, and its successor resumes."""

    def __init__(self, settings: Settings, layout: Layout, processes: Processes) -> None:
        assert settings.redis_url is not None, "the composition root has chosen one"
        self._settings = settings
        self._layout = layout
        self._started_at = time.time()
        self._store = RedisPolicyStore(settings.redis_url, poll_s=settings.policy_poll_s)
        self._keys = RedisKeyStore(settings.redis_url, poll_s=settings.policy_poll_s)
        self._board = RedisVersionBoard(settings.redis_url, poll_s=settings.policy_poll_s)
        self._catalogue = Catalogue(settings)
        self._fleet = hosted_fleet(settings, layout, processes)
        self._versions = Versions(self._fleet, self._catalogue, self._board, spec_maker(settings, layout))
        self._standby = Standby(self._store, settings.standby_s, time.time)
        self._rollouts = RedisRolloutStore(settings.redis_url)
        self._answers = RedisAnswerStore(settings.redis_url)
        self._watch = RedisWatch(settings.redis_url)
        self._loop = self._make_loop()
        self._exposures = ExposureWatch(
            self._store,
            self._rollouts,
            self._versions,
            metrics_dir=layout.metrics_dir,
            watch_s=settings.hard_failure_watch_s,
        )
        self._follower = self._make_follower()
        self._retrained = Retrained(
            self._store,
            self._rollouts,
            self._watch,
            self._catalogue,
            begun=self._loop.nudge,
            poll_s=settings.registry_poll_s,
        )
        self._metrics = Registry("control")
        self._metrics.before_snapshot(self._refresh_gauges)
        self._publisher = Publisher(self._metrics, layout.metrics_dir, interval_s=settings.metrics_interval_s)
        self._outcomes = RedisOutcomes(settings.redis_url)
        self._readings = NodeReadings(layout.metrics_dir, self._outcomes)
        self._servers = (
            WebServer(self._with_webhook(self._make_admin()), settings.admin_host, settings.admin_port),
            WebServer(metrics_app(layout.metrics_dir), settings.host, settings.metrics_port),
        )
        self._opening: asyncio.Task[None] | None = None
        self._loops = Supervisor()
        self._gauged: list[VersionStatus] = []

    async def start(self) -> None:
        """Open the ports and begin to reconcile.

        Raises:
            OSError: a port is taken.
        """
        await self._publisher.start()
        for server in self._servers:
            await server.start()
        self._opening = asyncio.create_task(self._open_registry(), name="open-registry")
        self._loops.run("follow-policies", self._follow_policies)
        self._loops.run("reconcile", self._versions.run)
        self._loops.run("follow-aliases", self._follower.run)
        self._loops.run("rollouts", self._loop.run)
        if self._settings.retrained_rollout:
            self._loops.run("retrained", self._retrained.run)
        if self._settings.hard_failure_watch_s > 0:
            self._loops.run("exposures", self._exposures.run)

    async def close(self) -> None:
        """Stop deciding; the versions stay."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._loops.close()
        await asyncio.gather(*(server.close() for server in self._servers))
        await self._loop.close()
        await self._versions.close()
        self._fleet.close()
        self._catalogue.close()
        await self._readings.close()
        await self._publisher.close()
        stores = (self._store, self._board, self._rollouts, self._answers, self._watch, self._outcomes, self._keys)
        await asyncio.gather(*(store.close() for store in stores))

    def _with_webhook(self, admin: App) -> App:
        if self._settings.registry_webhook_key_file is None:
            return admin
        secret = self._settings.registry_webhook_key_file.read_bytes().strip()
        return with_registry_webhook(admin, Signatures(secret, time.time), self._follower.nudge)

    def _make_admin(self) -> App:
        settings, layout = self._settings, self._layout
        return build_admin(
            self._store,
            self._versions,
            LocalLogAccounting(layout.spool_dir),
            TokenStore(layout.state_dir),
            self._node_status,
            readings=self._readings,
            allowed_hosts=settings.admin_allowed_hosts,
            ready_timeout_s=settings.ready_timeout_s,
            cool_down_s=settings.hard_failure_cool_down_s,
            rollouts=RolloutServices(self._rollouts, self._loop.findings, self._loop.nudge),
            watch=self._watch,
            answers=self._answers,
            key_store=self._keys,
            registry=RegistryServices(
                self._catalogue.aliased,
                self._catalogue.model_bytes,
                lambda: [*self._follower.concerns(), *self._loop.concerns()],
            ),
        )

    def _make_loop(self) -> RolloutLoop:
        settings, layout = self._settings, self._layout
        webhooks = Webhooks(settings.webhook_hosts, ensure_secret(layout.webhook_secret_file))
        return RolloutLoop(
            self._rollouts,
            self._store,
            versions=self._versions,
            registry=self._catalogue,
            gates=Gates(webhooks, time.time),
            metrics_dir=layout.metrics_dir,
            monitor=TrialJudge(self._watch),
            ready_timeout_s=settings.ready_timeout_s,
        )

    def _make_follower(self) -> AliasFollower:
        return AliasFollower(
            self._store,
            self._rollouts,
            self._versions,
            self._catalogue,
            begun=self._loop.nudge,
            poll_s=self._settings.registry_poll_s,
            ready_timeout_s=self._settings.ready_timeout_s,
        )

    async def _follow_policies(self) -> None:
        async for snapshot in self._store.watch():
            self._versions.follow(snapshot)
            self._readings.follow(snapshot)
            self._exposures.follow(snapshot)
            try:
                self._versions.keep(await self._standby.versions(snapshot))
            except StoreUnavailable as error:
                _log.warning("Which versions a rollback needs is not known: %s", error)

    async def _open_registry(self) -> None:
        try:
            await self._catalogue.open()
        except ServingError as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - the next call opens it, or says why it cannot
            _log.exception("The registry cannot be opened yet")

    async def _node_status(self) -> dict[str, object]:
        settings = self._settings
        return {
            "state_dir": str(self._layout.state_dir),
            "logs": str(self._layout.logs_dir),
            "control_started_at": self._started_at,
            "routers": settings.routers,
            "http": f"http://{settings.host}:{settings.http_port}",
            "grpc": f"{settings.host}:{settings.grpc_port}",
            "metrics": f"http://{settings.host}:{settings.metrics_port}/metrics",
            "hosts": self._fleet.show(),
        }

    def _refresh_gauges(self) -> None:
        for gone in self._gauged:
            for metric in (REPLICAS, REPLICAS_WANTED):
                self._metrics.gauge(metric, model=gone.model, version=str(gone.version)).clear()
        self._gauged = self._versions.current()
        for status in self._gauged:
            labels = {"model": status.model, "version": str(status.version)}
            self._metrics.gauge(REPLICAS, **labels).set(len(status.replicas))
            self._metrics.gauge(REPLICAS_WANTED, **labels).set(status.target_replicas)
