"""The scrape target answers GET /metrics for the whole node, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.catalog import LOG_SHIPPED
from serving.telemetry.folder import write_snapshot
from serving.telemetry.instruments import Registry
from serving.telemetry.metrics_app import metrics_app

pytestmark = pytest.mark.asyncio


async def ask(folder: Path, method: str = "GET", path: str = "/metrics", accept: str = "*/*") -> tuple[int, str, bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"accept", accept.encode())]}
    await metrics_app(folder)(scope, receive, send)
    start, body = sent
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    return start["status"], headers[b"content-type"].decode(), body["body"]


def values(body: bytes) -> dict[str, float]:
    return {s.name: s.value for family in text_string_to_metric_families(body.decode()) for s in family.samples}


async def test_one_scrape_covers_all_processes_of_the_node(tmp_path: Path) -> None:
    """Whoever answers reads what everybody has left in the folder."""
    for process in ("router-0", "router-1"):
        registry = Registry(process)
        registry.counter(LOG_SHIPPED).add(4)
        write_snapshot(tmp_path, process, registry.snapshot())

    status, content_type, body = await ask(tmp_path)

    assert status == 200
    assert content_type.startswith("text/plain")
    assert values(body)["shepherd_log_shipped_records_total"] == 8


async def test_unreadable_files_show_in_the_scrape_itself(tmp_path: Path) -> None:
    """A hole in the metrics is a metric."""
    (tmp_path / "alien.metrics").write_bytes(b"?")

    _, _, body = await ask(tmp_path)

    assert values(body)["shepherd_metrics_unreadable_files"] == 1


async def test_openmetrics_is_given_to_who_asks_for_it(tmp_path: Path) -> None:
    """The Accept header reaches the renderer."""
    _, content_type, _ = await ask(tmp_path, accept="application/openmetrics-text;version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/metrics"), ("GET", "/metrics/x")])
async def test_everything_else_is_not_found(tmp_path: Path, method: str, path: str) -> None:
    """The target has one page."""
    status, _, _ = await ask(tmp_path, method, path)

    assert status == 404


async def test_a_folder_that_cannot_be_read_is_an_error_not_an_empty_page(tmp_path: Path) -> None:
    """Zero requests and no metrics are different news."""
    status, _, body = await ask(tmp_path / "absent")

    assert status == 503
    assert str(tmp_path).encode() not in body
