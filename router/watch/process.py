"""The monitor's process put together: its loop, the rollbacks, the deliveries, its metrics. Knows no Ray."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from router.adapters.redis_incidents import RedisIncidents
from router.adapters.redis_monitor_state import RedisMonitorState
from router.adapters.redis_policy_store import RedisPolicyStore
from router.adapters.redis_rollout_store import RedisRolloutStore
from router.adapters.redis_version_board import RedisVersionBoard
from router.adapters.webhook import Webhooks, ensure_secret
from router.layout import Layout
from router.monitor.book import BookSettings
from router.monitor.drift import WindowSettings
from router.monitor.incident import Transition
from router.monitor.retraining import retrain_payload
from router.performance.ladder import Act, LadderSettings
from router.settings import Settings
from router.watch.acting import Acting
from router.watch.delivery import Delivery, Receivers
from router.watch.gauges import refresh
from router.watch.monitor import Monitor
from router.watch.profiles import attached_profiles
from router.watch.rollback import Rollback
from router.watch.trial_finder import TrialFinder
from serving.telemetry.instruments import Registry
from serving.telemetry.publisher import Publisher

#: Pause between two steps of a rollback.
_STEP_S: Final = 0.1
#: Steps after which a rollback that does not come about is given up: an operator, or the next incident, decides.
_MAX_STEPS: Final = 600
#: How far before an incident the log is worth training on.
_TRAINING_WINDOW_S: Final = 7 * 86_400.0


class MonitorProcess:
    """Everything that watches and nothing that serves: when it is gone, traffic goes on, and its successor resumes."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        assert settings.redis_url is not None, "the composition root has chosen one"
        url = settings.redis_url
        self._policies = RedisPolicyStore(url)
        self._rollouts = RedisRolloutStore(url)
        self._board = RedisVersionBoard(url)
        self._incidents = RedisIncidents(url)
        self._state = RedisMonitorState(url, holder=uuid.uuid4().hex, label_ttl_s=settings.monitor_label_ttl_s)
        self._rollback = Rollback(self._policies, self._rollouts, self._board)
        self.monitor = Monitor(
            self._state,
            self._rollback,
            BookSettings(
                window=WindowSettings(rows=settings.monitor_window_rows),
                reference_rows=settings.monitor_reference_rows,
                ladder=LadderSettings(rollback=settings.monitor_rollback),
            ),
            trials=TrialFinder(self._rollouts, time.time),
            attached=attached_profiles(layout.cache_dir),
        )
        self._delivery = Delivery(
            Webhooks(settings.webhook_hosts, ensure_secret(layout.webhook_secret_file)),
            Receivers(
                source=f"http://{settings.admin_host}:{settings.admin_port}",
                events=settings.incident_webhooks,
                alerts=settings.alert_webhooks,
                retrain=settings.retrain_url,
                retrain_format=settings.retrain_format,
            ),
            payload=self._retrain_payload,
            bury=self._incidents.bury,
        )
        self._metrics = Registry("monitor")
        self._metrics.before_snapshot(partial(refresh, self._metrics, self.monitor))
        self._publisher = Publisher(self._metrics, layout.metrics_dir, interval_s=settings.metrics_interval_s)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch."""
        await self._publisher.start()
        self._tasks = [
            asyncio.create_task(self.monitor.run(), name="monitor"),
            asyncio.create_task(Acting(self._incidents, "rollback", self._roll_back).run(), name="rollbacks"),
            asyncio.create_task(Acting(self._incidents, "delivery", self._delivery.deliver).run(), name="deliveries"),
        ]

    async def close(self) -> None:
        """Stop watching, and let a successor begin at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._state.release()
        await self._publisher.close()
        stores = (self._state, self._incidents, self._policies, self._rollouts, self._board)
        await asyncio.gather(*(store.close() for store in stores))

    async def _roll_back(self, transition: Transition) -> None:
        if transition.act is not Act.ROLL_BACK:
            return
        for _ in range(_MAX_STEPS):
            if await self._rollback.perform(transition, time.time()):
                return
            await asyncio.sleep(_STEP_S)

    async def _retrain_payload(self, transition: Transition) -> Mapping[str, Any]:
        incident = transition.incident
        stored = await self._policies.get(incident.model)
        champion = max(stored.policy.variants, key=lambda each: each.weight).version if stored else None
        statuses = await self._board.read()
        lineage = next(
            (each.lineage for each in statuses if (each.model, each.version) == (incident.model, incident.version)), {}
        )
        return retrain_payload(transition, champion=champion, lineage=lineage, window_s=_TRAINING_WINDOW_S)
