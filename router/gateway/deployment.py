"""A router as a Ray Serve deployment: a `Gateway` with its adapters, and discovery that feeds it endpoints."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from functools import partial
from typing import Final

from ray import serve

from router.adapters.files.log_rules import read_log_rules
from router.adapters.files.spool import NoSpool, Spool, SpoolLimits
from router.adapters.redis.key_store import RedisKeyStore
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.policy_store import RedisPolicyStore
from router.adapters.redis.request_log import RedisRequestLog
from router.adapters.redis.version_board import RedisVersionBoard
from router.cancellation import end_if_cancelled
from router.gateway.dispatch.policy_view import VersionKey
from router.gateway.doors import LAST_ANSWERS_S
from router.gateway.gateway import Gateway
from router.gateway.log.recorder import Recorder
from router.gateway.log.shipper import Shipper
from router.gateway.slots import Slot
from router.layout import Layout
from router.ports import StoreUnavailable
from router.settings import Settings
from serving.deployment.discovery import AppWatch
from serving.deployment.gc_freeze import freeze_loaded_objects
from serving.deployment.hosting.host_files import HostFiles
from serving.deployment.hosting.host_watches import HostedEndpoint, HostWatches, Watch, read_hosted_endpoints
from serving.deployment.process_log import log_to
from serving.deployment.spec import CHANNEL_TOKEN_FILE, app_name

APP: Final = "gateway"
_DEPLOYMENT: Final = "Router"
_MAX_ONGOING: Final = 100_000
#: How often to look whether requests wait for a version that was scaled to zero: little, beside starting a process.
_STARVING_PERIOD_S: Final = 0.1
#: How often to look for records that are too old.
_EXPIRE_PERIOD_S: Final = 60.0
_log = logging.getLogger(__name__)


class Router:
    """One router process. It serves from the end of its constructor until it is deleted."""

    async def __init__(self, settings: Settings, layout: Layout) -> None:  # type: ignore[misc] # Ray Serve awaits it
        assert settings.redis_url is not None, "the composition root has chosen one"
        log_to(layout.logs_dir, "router", settings.log_level)
        incarnation = f"{int(time.time()):x}-{secrets.token_hex(4)}"
        self._watches: dict[VersionKey, Watch] = {}
        self._hosts = HostWatches(AppWatch)
        self._hosted: dict[VersionKey, HostedEndpoint | None] = {}
        """Where the watched versions live, as far as they share a process."""
        self._closing: set[asyncio.Task[None]] = set()
        self._store = RedisPolicyStore(settings.redis_url, poll_s=settings.policy_poll_s)
        self._board = RedisVersionBoard(settings.redis_url, poll_s=settings.policy_poll_s)
        self._stream = RedisRequestLog(settings.redis_url, retention_bytes=settings.log_retention_bytes)
        self._labels = RedisLabels(settings.redis_url)
        self._keys = RedisKeyStore(settings.redis_url, poll_s=settings.policy_poll_s)
        rules = await asyncio.to_thread(read_log_rules, settings.log_rules_file, layout.log_key_file)
        spool = await asyncio.to_thread(_open_spool, settings, layout, incarnation)
        self._gateway = Gateway(
            settings,
            incarnation=incarnation,
            token=(layout.run_dir / CHANNEL_TOKEN_FILE).read_bytes(),
            store=self._store,
            board=self._board,
            recorder=Recorder(
                spool,
                incarnation=incarnation,
                sample_bp=rules.other_sample_bp(settings.log_sample_bp) if settings.log_enabled else 0,
                model_sample_bp=rules.sample_bp if settings.log_enabled else None,
                payload_max_bytes=settings.log_payload_max_bytes,
                redactors=rules.redactors,
            ),
            shipper=Shipper(spool, self._stream, root=layout.spool_dir),
            labels=self._labels,
            keys=self._keys,
            keys_file=layout.keys_file,
            snapshot_file=layout.policies_file,
            metrics_dir=layout.metrics_dir,
            slot=Slot.take(layout, settings.routers) if settings.grpc_door == "envoy" else None,
            hosted=await asyncio.to_thread(read_hosted_endpoints, HostFiles(layout.run_dir)),
        )
        self._gateway.on_versions_wanted = self._watch
        await self._gateway.start()
        freeze_loaded_objects()
        self._tasks = [asyncio.create_task(self._wake_versions(), name="wake-versions")]
        if settings.log_retention_s:
            self._tasks.append(asyncio.create_task(self._expire_log(settings.log_retention_s), name="expire-log"))

    async def check_health(self) -> None:
        """Answer, which proves that the event loop turns; a dead process is noticed without."""

    async def __del__(self) -> None:
        """Drain: Ray Serve awaits this before it ends the process."""
        for task in self._tasks:
            task.cancel()
        await self._gateway.close()
        await asyncio.gather(*(watch.close() for watch in self._watches.values()), *self._closing)
        stores = (self._store, self._board, self._stream, self._labels, self._keys)
        await asyncio.gather(*(store.close() for store in stores))

    def _watch(self, wanted: frozenset[VersionKey]) -> None:
        """Follow exactly the versions that a request may go to, each where it lives now."""
        hosted = {key: self._gateway.hosted_endpoint(key) for key in wanted}
        for key in [key for key in self._watches if key not in wanted or self._hosted[key] != hosted[key]]:
            task = asyncio.create_task(self._watches.pop(key).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for key in wanted - self._watches.keys():
            self._watches[key] = self._follow(key, hosted[key])
        self._hosted = hosted

    def _follow(self, key: VersionKey, hosted: HostedEndpoint | None) -> Watch:
        on_endpoints = partial(self._gateway.set_endpoints, *key)
        if hosted is not None:
            return self._hosts.watch(hosted, on_endpoints)
        return AppWatch(app_name(*key), on_endpoints)

    async def _expire_log(self, age_s: float) -> None:
        """Delete old records; every router does, and whoever comes first finds some."""
        while True:
            end_if_cancelled()
            with suppress(StoreUnavailable):  # said by the shipper already
                await self._stream.expire(age_s)
            await asyncio.sleep(min(age_s / 10, _EXPIRE_PERIOD_S))

    async def _wake_versions(self) -> None:
        """Have a version started that was scaled to zero, once requests wait for it."""
        while True:
            for key in self._gateway.starving() & self._watches.keys():
                self._watches[key].wake()
            await asyncio.sleep(_STARVING_PERIOD_S)


def stopping_s(settings: Settings) -> float:
    """Say how long a router may take to end: the drain, the refusal of what has no answer by then, its records."""
    return settings.drain_timeout_s + LAST_ANSWERS_S + 2.0


def gateway_target(settings: Settings, layout: Layout) -> serve.RunTarget:
    """Describe the application of all routers."""
    deployment = serve.deployment(Router).options(
        name=_DEPLOYMENT,
        num_replicas=settings.routers,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=_MAX_ONGOING,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        graceful_shutdown_wait_loop_s=0.05,
        graceful_shutdown_timeout_s=stopping_s(settings),
        max_constructor_retry_count=1,
    )
    return serve.RunTarget(deployment.bind(settings, layout), name=APP, route_prefix=None)


def _open_spool(settings: Settings, layout: Layout, incarnation: str) -> Spool | NoSpool:
    """Open this router's spool; a disk that refuses costs the log, whose counters say so, and not the service."""
    limits = SpoolLimits(max_bytes=settings.spool_max_bytes, segment_bytes=settings.spool_segment_bytes)
    try:
        return Spool.open(layout.spool_dir, incarnation, limits)
    except OSError as error:
        _log.exception("Cannot open a spool under %s: requests will be counted as dropped", layout.spool_dir)
        return NoSpool(error)
