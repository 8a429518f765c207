"""How the applications of a node end."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from router import app
from router.node.directory import NodeRecord, has_let_go, taken, write_record
from router.settings import Settings

#: What a router takes beyond its drain: it refuses what has no answer, and writes the records of that.
REFUSING_S = 0.5


def test_a_router_is_left_the_time_to_refuse_what_its_drain_did_not_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that ended it with its drain would cut those clients off, without an answer or a record."""
    pytest.importorskip("router.gateway.deployment")  # here, where warnings of what it imports are no errors
    settings = Settings(state_dir=tmp_path, drain_timeout_s=0.1)
    ends_at = {"gateway": float("inf"), "control": float("inf")}

    def delete(name: str, **_: object) -> None:
        ends_at[name] = time.monotonic() + (settings.drain_timeout_s + REFUSING_S if name == "gateway" else 0.0)

    def status() -> SimpleNamespace:
        return SimpleNamespace(applications={name: None for name, at in ends_at.items() if time.monotonic() < at})

    monkeypatch.setattr("ray.serve", SimpleNamespace(delete=delete, status=status))

    app._delete_applications(settings, {"gateway", "control"})

    assert not status().applications


def test_a_gateway_is_waited_for_as_long_as_it_says_that_it_may_take(tmp_path: Path) -> None:
    """It knows its drain, and whoever stops it does not."""
    record = NodeRecord(pid=os.getpid(), http="", grpc="", metrics="", admin="", started_at=0.0, stop_s=0.05)
    with taken(tmp_path) as layout:
        assert not has_let_go(tmp_path, os.getpid(), unready_s=0.0)
        write_record(layout, record)
        assert not has_let_go(tmp_path, os.getpid(), unready_s=math.inf)
    assert has_let_go(tmp_path, os.getpid(), unready_s=0.0)
