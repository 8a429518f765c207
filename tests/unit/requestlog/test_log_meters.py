"""The request log's counters as metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.adapters.files.spool import SpoolLimits
from router.adapters.redis.request_log import RedisRequestLog
from router.gateway.log.meters import LogMeters
from router.gateway.log.shipper import Shipper
from router.requestlog.record import SHADOW
from serving.telemetry import catalog
from serving.telemetry.instruments import Registry
from tests.answers import a_recorder, a_spool, add_answer


@pytest.mark.asyncio
async def test_metrics_follow_the_books(tmp_path: Path) -> None:
    """Metrics have the counters' totals, the gauge what waits; refreshing twice counts nothing twice."""
    spool = a_spool(tmp_path, limits=SpoolLimits(max_bytes=2_000))
    stream = RedisRequestLog(f"unix://{tmp_path / 'nowhere.sock'}")
    shipper = Shipper(spool, stream, root=tmp_path)
    registry = Registry("router")
    meters = LogMeters(registry, spool.counters, shipper)
    recorder = a_recorder(spool, model_sample_bp={"noisy": 0})
    for n in range(30):
        add_answer(recorder, n)
        add_answer(recorder, n, model="noisy")
        recorder.flush()
    add_answer(recorder, 1, kind=SHADOW)
    recorder.flush()

    for _ in range(2):
        meters.refresh()

    logged = registry.counter(catalog.LOG_RECORDS, model="flights", outcome="logged").value
    assert 0 < logged < 30
    assert registry.counter(catalog.LOG_RECORDS, model="flights", outcome="dropped_spool_full").value == 30 - logged
    assert registry.counter(catalog.LOG_REQUESTS, model="flights").value == 30
    assert registry.counter(catalog.LOG_RECORDS, model="noisy", outcome="sampled_out").value == 30
    assert registry.gauge(catalog.LOG_SPOOL).value == spool.folder.end
    assert registry.counter(catalog.LOG_SHIPPED).value == 0

    spool.folder.release(spool.folder.end)
    await shipper.stop()
    meters.refresh()

    assert registry.gauge(catalog.LOG_SPOOL).value == 0
    assert registry.counter(catalog.LOG_SHIPPED).value == logged
    await stream.close()
