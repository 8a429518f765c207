"""The monitor's processes put together: the loop, the rollbacks, the deliveries, the metrics. Knows no Ray."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from router.adapters.redis.counting import RedisCounting
from router.adapters.redis.incidents import RedisIncidents
from router.adapters.redis.labels import RedisLabels
from router.adapters.redis.monitor_state import RedisMonitorState
from router.adapters.redis.policy_store import RedisPolicyStore
from router.adapters.redis.request_log import RedisRequestLog
from router.adapters.redis.rollout_store import RedisRolloutStore
from router.adapters.redis.version_board import RedisVersionBoard
from router.adapters.webhook import Webhooks, ensure_secret
from router.layout import Layout
from router.monitor.book_settings import BookSettings
from router.monitor.drift import WindowSettings
from router.monitor.incident import Transition
from router.monitor.retraining import retrain_payload
from router.performance.escalation import Act, LadderSettings
from router.performance.severity import Severity
from router.ports import StoreUnavailable
from router.settings import Settings
from router.watch.authorization import Authorization
from router.watch.counter import Counter
from router.watch.delivery import Delivery
from router.watch.gauges import refresh
from router.watch.incident_actions import IncidentActions
from router.watch.monitor import Monitor
from router.watch.profiles import attached_profiles
from router.watch.receivers import GROUPS, receivers_of
from router.watch.rollback import Rollback
from router.watch.training_span import training_span
from router.watch.trial_finder import TrialFinder
from serving.telemetry.instruments import Registry
from serving.telemetry.publisher import Publisher

#: Pause between two steps of a rollback.
_STEP_S: Final = 0.1
#: Steps after which a rollback that does not come about is given up: an operator, or the next incident, decides.
_MAX_STEPS: Final = 600
#: How far before an incident the log is worth training on.
_TRAINING_WINDOW_S: Final = 7 * 86_400.0
_RETRY_S: Final = 1.0


class MonitorProcess:
    """Everything that watches and nothing that serves: when it is gone, traffic goes on, and its successor resumes."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        assert settings.redis_url is not None, "the composition root has chosen one"
        url = settings.redis_url
        self._policies = RedisPolicyStore(url)
        self._rollouts = RedisRolloutStore(url)
        self._board = RedisVersionBoard(url)
        self._incidents = RedisIncidents(url)
        self._state = RedisMonitorState(
            url,
            holder=uuid.uuid4().hex,
            label_ttl_s=settings.monitor_label_ttl_s,
            counts_itself=settings.monitor_workers == 1,
        )
        self._rollback = Rollback(self._policies, self._rollouts, self._board)
        self.monitor = Monitor(
            self._state,
            self._rollback,
            BookSettings(
                window=WindowSettings(rows=settings.monitor_window_rows),
                reference_rows=settings.monitor_reference_rows,
                baseline_labels=settings.monitor_baseline_labels,
                ladder=LadderSettings(
                    rollback=settings.monitor_rollback, retrain_at=Severity.named(settings.retrain_at)
                ),
            ),
            trials=TrialFinder(self._rollouts, time.time),
            attached=attached_profiles(layout.cache_dir),
        )
        self._log = RedisRequestLog(url)
        self._labels = RedisLabels(url)
        self._rollbacks = IncidentActions(self._incidents, "rollback", self._roll_back)
        self._deliveries = self._make_deliveries(settings, layout)
        self._metrics = Registry("monitor")
        self._metrics.before_snapshot(partial(refresh, self._metrics, self.monitor))
        self._publisher = Publisher(self._metrics, layout.metrics_dir, interval_s=settings.metrics_interval_s)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch."""
        await self._publisher.start()
        self._tasks = [
            asyncio.create_task(self._watch(), name="monitor"),
            *(asyncio.create_task(each.run(), name=each.group) for each in (self._rollbacks, *self._deliveries)),
        ]

    async def close(self) -> None:
        """Stop watching, and let a successor begin at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._state.release()
        await self._publisher.close()
        stores = (self._state, self._incidents, self._policies, self._rollouts, self._board, self._log, self._labels)
        await asyncio.gather(*(store.close() for store in stores))

    def _make_deliveries(self, settings: Settings, layout: Layout) -> list[IncidentActions]:
        webhooks = Webhooks(settings.webhook_hosts, ensure_secret(layout.webhook_secret_file))
        authorization = Authorization(settings.retrain_authorization, settings.retrain_authorization_file)
        return [
            IncidentActions(
                self._incidents,
                receiver.group,
                Delivery(
                    webhooks,
                    receiver,
                    source=f"http://{settings.admin_host}:{settings.admin_port}",
                    payload=self._retrain_payload,
                    bury=self._incidents.bury,
                    retrain_format=settings.retrain_format,
                    authorization=authorization,
                ).deliver,
            )
            for receiver in receivers_of(settings)
        ]

    async def _watch(self) -> None:
        """Let new receivers begin where the past is over, before there is anything to tell; then watch."""
        groups = [each.group for each in self._deliveries]
        while True:
            try:
                await self._incidents.retire(GROUPS, groups)
                for group in groups:
                    await self._incidents.begin(group, forget_past=True)
                break
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_S)
        await self.monitor.run()

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
        since = incident.opened_at - _TRAINING_WINDOW_S
        span = await training_span(self._log, self._labels, incident.model, since, transition.at)
        return retrain_payload(transition, champion=champion, lineage=lineage, span=span)


class CounterProcess:
    """Counts a part of the log, beside others."""

    def __init__(self, settings: Settings) -> None:
        assert settings.redis_url is not None, "the composition root has chosen one"
        self._source = RedisCounting(
            settings.redis_url, consumer=uuid.uuid4().hex, label_ttl_s=settings.monitor_label_ttl_s
        )
        self._counter = Counter(self._source, WindowSettings(rows=settings.monitor_window_rows))
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to count."""
        self._task = asyncio.create_task(self._counter.run(), name="counter")

    async def close(self) -> None:
        """Stop counting; what was read and not stored is another counter's."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._source.close()
